"""A network of your own: copy this file, change it, and train it.

mnist-train --model my_net.py:Net -o my.pt
mnist-eval my.pt --model my_net.py:Net
"""

from torch import nn

# Defaults of these options for this network; the command line takes precedence.
OPTIONS = {"lr": 3e-3, "label_smoothing": 0.1, "augment": "shift", "normalized": True}


class Net(nn.Sequential):
    """Two convolutions and a dense layer: images [N, 1, 28, 28] to logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 10),
        )
