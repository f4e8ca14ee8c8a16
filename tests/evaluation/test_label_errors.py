"""The known label errors of MNIST's test set."""

from mnist_cli.data.datasets import Dataset
from mnist_cli.evaluation.label_errors import known_label_errors


def test_the_test_set_of_mnist_has_fifteen_known_label_errors(mnist: Dataset) -> None:
    """Their given labels are those that labelerrors.com shows."""
    images, labels = mnist.test.images, mnist.test.labels.long()
    known = sorted(known_label_errors(images, labels))
    given = [8, 0, 9, 4, 2, 5, 6, 6, 5, 5, 0, 1, 4, 6, 5]
    assert labels[known].tolist() == given


def test_other_samples_have_no_known_label_errors(mnist: Dataset) -> None:
    images, labels = mnist.test.images, mnist.test.labels.long()
    changed = images.clone()
    changed[9999, 27, 27] += 1
    assert not known_label_errors(changed, labels)
    corrected = labels.clone()
    corrected[947] = 9
    assert not known_label_errors(images, corrected)
    assert not known_label_errors(images.flip(0), labels.flip(0))
    assert not known_label_errors(images[:1000], labels[:1000])
