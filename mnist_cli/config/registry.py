"""Registry of the networks, optimizers and probes with their defaults; it does not import torch.

To add a network, write a function in `models/networks.py` and an entry here; to add an optimizer, a
class in `training/optim.py` and an entry here; to add a probe, a class in `training/probes/` and an
entry here. It is in `config/` because the options take their choices and defaults from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mnist_cli.config.network_file import is_begun, read_network_file, shown_name
from mnist_cli.config.suggestions import not_one_of
from mnist_cli.errors import UsageError

Rates = Mapping[str, float]  # by the name of an optimizer


@dataclass(frozen=True)
class OptimizerEntry:
    """The defaults of an optimizer, and the name of its class in `training/optim.py`.

    A network without a learning rate and weight decay for this optimizer uses those of the
    optimizer `like`, with the learning rate multiplied by `lr_factor`.
    """

    class_name: str
    comparison_momentum: float
    like: str | None = None
    lr_factor: float = 1.0


OPTIMIZERS = {
    "sgd": OptimizerEntry("SGD", comparison_momentum=0.0),
    "adamw": OptimizerEntry("AdamW", comparison_momentum=0.9),
    "muon": OptimizerEntry("Muon", comparison_momentum=0.9, like="adamw"),
}


@dataclass(frozen=True)
class Defaults:
    """Default options of a network in one mode.

    `lr` is the peak learning rate, in mini-batch mode for batches of 64.
    """

    lr: Rates
    weight_decay: Rates
    label_smoothing: float = 0.0
    augment: str = "none"
    augment_strength: float = 1.0  # of affine and elastic
    optimizer: str = "adamw"


@dataclass(frozen=True)
class NetworkEntry:
    """The properties of a network besides its layers.

    Attributes:
        about: Description of one line, for listings.
        builder: Name of the function in `models/networks.py` that builds it.
        mini_batch, batch: Defaults in each mode.
        comparison_lr: Learning rates for batches of 64, constant and without momentum (sgd) or
            with 0.9 (adamw): the best of `mnist-compare --lr-rule tuned --batch-sizes 64 --epochs
            2 --seeds 1`.
        confidence_threshold: Probability below which a prediction is uncertain: the highest
            hundredth that at least 99 % of the correct predictions of held-out samples reach. The
            samples are 10,000 of MNIST's training set; the network was trained on the others with
            its defaults. `python -m tests.drawn.threshold` prints it.

    """

    about: str
    builder: str
    mini_batch: Defaults
    batch: Defaults
    comparison_lr: Rates
    confidence_threshold: float = field(default=0.0)

    def defaults(self, mode: str) -> Defaults:
        """Return the defaults in a mode."""
        return {"mini-batch": self.mini_batch, "batch": self.batch}[mode]


# AdamW's rates in mini-batch mode, and in batch mode those of linear and mlp, were compared by the
# accuracy on 10,000 training samples that were held out. The others are customary values.
_NO_DECAY: Rates = {"adamw": 0.0, "sgd": 0.0}
_WEAK_DECAY: Rates = {"adamw": 0.01, "sgd": 0.0}
_STRONG_DECAY: Rates = {"adamw": 0.2, "sgd": 0.0}

# In batch mode the gradient is that of the plain loss over the samples as they are: no label
# smoothing and no augmentation.
NETWORKS = {
    "linear": NetworkEntry(
        "Softmax regression, from zero: a convex problem whose first loss is ln 10.",
        builder="linear",
        mini_batch=Defaults({"adamw": 3e-3, "sgd": 0.02}, _WEAK_DECAY),
        batch=Defaults({"adamw": 0.01, "sgd": 0.1}, _WEAK_DECAY),
        comparison_lr={"sgd": 0.05, "adamw": 1e-3},
        # 97.8 % of predictions are above, 93.59 % of them correct; 18 % of the mistakes are below.
        confidence_threshold=0.49,
    ),
    "mlp": NetworkEntry(
        "Multilayer perceptron with hidden layers of 256 and 128 units.",
        builder="mlp",
        mini_batch=Defaults({"adamw": 2e-3, "sgd": 0.05}, _STRONG_DECAY),
        batch=Defaults({"adamw": 0.01, "sgd": 0.1}, _WEAK_DECAY),
        comparison_lr={"sgd": 0.1, "adamw": 5e-4},
        confidence_threshold=0.73,  # 98.3 % above, 99.15 % correct; 47 % of the mistakes below
    ),
    "lenet": NetworkEntry(
        "LeNet-5 (LeCun et al. 1998) with max pooling and ReLU, as it is mostly built today.",
        builder="lenet",
        mini_batch=Defaults({"adamw": 4e-3, "sgd": 0.05}, _STRONG_DECAY, 0.1, augment="shift"),
        batch=Defaults({"adamw": 0.005, "sgd": 0.1}, _WEAK_DECAY),
        comparison_lr={"sgd": 0.05, "adamw": 1e-3},
        confidence_threshold=0.68,  # 98.5 % above, 99.84 % correct; 77 % of the mistakes below
    ),
    "cnn": NetworkEntry(
        "Three convolutions, two of them with strides instead of pooling.",
        builder="cnn",
        mini_batch=Defaults(
            {"adamw": 6e-3, "sgd": 0.05},
            _STRONG_DECAY,
            0.1,
            augment="affine",
            augment_strength=0.5,
            optimizer="muon",
        ),
        batch=Defaults({"adamw": 0.01, "sgd": 0.1}, _WEAK_DECAY),
        comparison_lr={"sgd": 0.05, "adamw": 2e-3},
        confidence_threshold=0.56,  # 98.8 % above, 99.85 % correct; 69 % of the mistakes below
    ),
    "large": NetworkEntry(
        "Four convolutions with 32 to 128 channels, one of them normalised: the best accuracy.",
        builder="large",
        mini_batch=Defaults(
            {"adamw": 4.2e-3, "sgd": 0.05},
            {"adamw": 0.05, "sgd": 0.0},
            0.1,
            augment="affine",
            optimizer="muon",
        ),
        batch=Defaults({"adamw": 0.01, "sgd": 0.1}, _WEAK_DECAY),
        comparison_lr={"sgd": 0.05, "adamw": 1e-3},  # customary values: no search was made
        confidence_threshold=0.62,  # 98.8 % above, 99.89 % correct; 75 % of the mistakes below
    ),
    "tiny": NetworkEntry(
        "Five convolutions from three sets of weights, for fewer than 5,000 parameters.",
        builder="tiny",
        # So few parameters cannot learn every distortion.
        mini_batch=Defaults(
            {"adamw": 7e-3, "sgd": 0.05}, _WEAK_DECAY, augment="affine", augment_strength=0.5
        ),
        batch=Defaults({"adamw": 0.01, "sgd": 0.1}, _WEAK_DECAY),
        comparison_lr={"sgd": 0.1, "adamw": 0.02},
        confidence_threshold=0.81,  # 98.5 % above, 99.64 % correct; 62 % of the mistakes below
    ),
    "nano": NetworkEntry(
        "Five convolutions that are sums of a few cosines, for fewer than 1,000 parameters.",
        builder="nano",
        mini_batch=Defaults(
            {"adamw": 0.02, "sgd": 0.05}, _NO_DECAY, augment="affine", augment_strength=0.2
        ),
        batch=Defaults({"adamw": 0.01, "sgd": 0.1}, _NO_DECAY),
        comparison_lr={"sgd": 0.2, "adamw": 0.01},
        confidence_threshold=0.63,  # 98.3 % above, 98.57 % correct; 35 % of the mistakes below
    ),
    "upright": NetworkEntry(
        "As nano, on digits that it first sets upright, for fewer than 1,000 parameters.",
        builder="upright",
        mini_batch=Defaults(
            {"adamw": 0.02, "sgd": 0.05}, _NO_DECAY, augment="elastic", augment_strength=0.4
        ),
        batch=Defaults({"adamw": 0.01, "sgd": 0.1}, _NO_DECAY),
        comparison_lr={"sgd": 0.3, "adamw": 0.01},  # of adamw no search was made: nano's
        confidence_threshold=0.72,  # 98.4 % above, 99.29 % correct; 47 % of the mistakes below
    ),
    "quick": NetworkEntry(
        "One convolution and two dense layers on fixed cosine waves: the fastest way to 99 %.",
        builder="quick",
        mini_batch=Defaults({"adamw": 6e-3, "sgd": 0.05}, _STRONG_DECAY, 0.1, augment="shift"),
        batch=Defaults({"adamw": 0.01, "sgd": 0.1}, _WEAK_DECAY),
        comparison_lr={"sgd": 0.2, "adamw": 1e-3},
        confidence_threshold=0.57,  # 98.5 % above, 99.69 % correct; 63 % of the mistakes below
    ),
}


# Of a network in a file of one's own. Its OPTIONS take the place of these.
OWN = NetworkEntry(
    "A network in a file of one's own.",
    builder="",
    mini_batch=Defaults({"adamw": 1e-3, "sgd": 0.02}, _WEAK_DECAY),
    batch=Defaults({"adamw": 3e-3, "sgd": 0.1}, _WEAK_DECAY),
    comparison_lr={"sgd": 0.05, "adamw": 1e-3},
    confidence_threshold=0.5,
)


def network_entry(model: str) -> NetworkEntry:
    """Return the entry of a network; one in a file is read for its OPTIONS, and not run.

    Raises:
        UsageError: the file cannot be read, or sets other OPTIONS than it may.

    """
    if model in NETWORKS:
        return NETWORKS[model]
    given = {} if is_begun(model) else dict(read_network_file(model).options)
    given.pop("normalized", None)
    mini_batch = OWN.mini_batch
    optimizer = given.get("optimizer", mini_batch.optimizer)
    if optimizer not in OPTIMIZERS:
        raise UsageError(f"OPTIONS of {model}: optimizer: {not_one_of(optimizer, OPTIMIZERS)}")
    for name in ("lr", "weight_decay"):
        if name in given:
            given[name] = {**getattr(mini_batch, name), optimizer: float(given[name])}
    return replace(OWN, mini_batch=replace(mini_batch, **given))


@dataclass(frozen=True)
class ProbeEntry:
    """The class of a probe, and its module in `training/probes/`."""

    module: str
    class_name: str


def network_name(model: str, members: int = 1) -> str:
    """Return the name of a network, such as `cnn`, or `an ensemble of 3 cnn`."""
    name = shown_name(model)
    return f"an ensemble of {members} {name}" if members > 1 else name


# The probes run in this order.
PROBES = {
    "noise": ProbeEntry("noise", "NoiseProbe"),
    "alignment": ProbeEntry("alignment", "AlignmentProbe"),
    "path": ProbeEntry("path", "PathProbe"),
    "losses": ProbeEntry("losses", "LossesProbe"),
    "sharpness": ProbeEntry("sharpness", "SharpnessProbe"),
}


def entry_for(rates: Rates, optimizer: str, *, scaled: bool = False) -> float:
    """Return the entry of an optimizer, or else of the optimizer that it is `like`.

    If `scaled`, the latter is multiplied by `lr_factor`, as learning rates are.
    """
    if optimizer in rates:
        return rates[optimizer]
    entry = OPTIMIZERS[optimizer]
    if entry.like is None:
        raise KeyError(optimizer)
    return entry_for(rates, entry.like, scaled=scaled) * (entry.lr_factor if scaled else 1.0)
