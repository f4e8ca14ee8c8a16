"""Which arrays are images and labels, training and test samples."""

import io
from pathlib import Path

import numpy as np
import pytest

from mnist_cli.data.own.arrays import ArrayFile, array_of
from mnist_cli.data.own.reading import read_own
from mnist_cli.data.own.sources import Entry, Kind
from tests.data.own.conftest import Few
from tests.helpers.own_data import Array, npy, write_all

# From files of public projects.
ROLES = {
    "x_train": "train",
    "X_test": "test",
    "test_images": "test",
    "testX": "test",
    "xtest": "test",
    "t10k-images-idx3-ubyte": "test",
    "latest": "train",
    "latest/x_train": "train",
    "contest_images": "train",
    "x_val": "validation",
    "xval": "validation",
    "X_valid": "validation",
    "validation_images": "validation",
    "valX": "validation",
    "dev_x": "validation",
    "values": "train",
    "interval_x": "train",
    "train_images": "train",
    "arr_0": "train",
}
# Names of images and labels that belong together.
PAIRS = [
    ("x_train", "y_train"),
    ("X", "y"),
    ("images", "labels"),
    ("train_images", "train_labels"),
    ("kmnist-train-imgs.npz/arr_0", "kmnist-train-labels.npz/arr_0"),
    ("emnist-letters-train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte.gz"),
    ("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"),
    ("data", "target"),
    ("features", "labels"),
    ("training_data", "training_targets"),
]


def entry(content: bytes) -> Entry:
    return Entry("a.npy", "a.npy", len(content), lambda: io.BytesIO(content))


def named(name: str, values: Array) -> ArrayFile:
    return array_of(entry(npy(values)), Kind.NPY, name)


@pytest.mark.parametrize("name", ROLES)
def test_the_role_of_an_array_follows_from_its_name(name: str) -> None:
    assert named(name, np.zeros(3)).role == ROLES[name]


@pytest.mark.parametrize(("images", "labels"), PAIRS)
def test_images_and_labels_of_one_set_have_one_key(images: str, labels: str) -> None:
    assert named(images, np.zeros(3)).key == named(labels, np.zeros(3)).key
    assert named(f"a-{images}", np.zeros(3)).key != named(f"b-{labels}", np.zeros(3)).key


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 28, 28), (28, 28)),
        ((5, 28, 28, 1), (28, 28)),
        ((5, 1, 28, 28), (28, 28)),
        ((5, 784), (28, 28)),
        ((5, 64), (8, 8)),
        ((5, 20, 30), (20, 30)),
        ((5, 28, 28, 3), None),
        ((5, 10), None),
        ((5, 36), None),
        ((784,), None),
        ((5, 6, 28), None),
        ((5, 257, 257), None),
        ((), None),
    ],
)
def test_images_are_known_by_their_shape(
    shape: tuple[int, ...], expected: tuple[int, int] | None
) -> None:
    assert named("x", np.zeros(shape, dtype=np.uint8)).image_shape == expected


@pytest.mark.parametrize("dtype", ["|u1", "<u2", ">i4", "<i8", ">f4", "<f8", "<f2", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_type_and_order_are_what_numpy_loads(dtype: str, order: str) -> None:
    values = np.asarray(np.arange(2 * 28 * 28).reshape(2, 28, 28) % 100, dtype, order=order)
    loaded = named("x", values).load()
    assert (loaded == values).all()
    assert loaded.dtype == values.dtype.newbyteorder("=")
    assert loaded.flags.c_contiguous


def test_one_set_among_several_is_found_by_the_name_of_its_file(some: Few, tmp_path: Path) -> None:
    files = {
        "a_images.npy": npy(some.images),
        "a_labels.npy": npy(some.labels),
        "b_images.npy": npy(255 - some.images),
        "b_labels.npy": npy(9 - some.labels),
    }
    write_all(tmp_path, files)
    own = read_own(tmp_path / "a_images.npy")
    assert some.is_in(own.train, own.classes)
    other = read_own(tmp_path / "b_labels.npy")
    assert Few(some.images, 9 - some.labels).is_in(other.train, other.classes)
