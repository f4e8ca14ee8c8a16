"""The known label errors of MNIST's test set.

Five people were asked about each of 100 images whose label a network doubted. Of these 15 images
fewer than three saw the digit of the label.
Source: Northcutt, Athalye and Mueller 2021, Pervasive Label Errors in Test Sets Destabilize Machine
Learning Benchmarks, and the published answers (`mturk/mnist_mturk.json` of cleanlab/label-errors).
"""

import hashlib

from torch import Tensor

_MNIST_LABEL_ERRORS = frozenset(
    (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
)
_MNIST_TEST_SHA256 = "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b"


def known_label_errors(images: Tensor, labels: Tensor) -> frozenset[int]:
    """Return the indices of the known label errors; there are none in other samples.

    `images` are `uint8 [N, 28, 28]` and `labels` `int64 [N]`, both on the CPU. MNIST's test set is
    known by its contents, so that an altered or a reordered one has no known errors.
    """
    if len(labels) != 10_000:
        return frozenset()
    digest = hashlib.sha256(images.contiguous().numpy().tobytes())
    digest.update(labels.byte().numpy().tobytes())
    is_mnist = digest.hexdigest() == _MNIST_TEST_SHA256
    return _MNIST_LABEL_ERRORS if is_mnist else frozenset()
