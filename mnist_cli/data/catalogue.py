"""The data sets: torchvision's folders and file names, their classes, the checksums of MNIST."""

from dataclasses import dataclass
from pathlib import Path

from mnist_cli.config.own_data import number_of_classes as number_in_name

IMAGE_SHAPE = (28, 28)
# Mean and standard deviation of the pixels of MNIST's 60,000 training images, scaled to 0 to 1.
MEAN, STD = 0.1307, 0.3081


DIGITS = tuple("0123456789")
_LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SMALL_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
# The small letters that do not look like the capitals; the others are one class with them.
_MERGED = (*DIGITS, *_LETTERS, *"abdefghnqrt")


@dataclass(frozen=True)
class DatasetFiles:
    """A data set: torchvision's name of its class and folder, its files in `raw/`, its classes.

    Attributes:
        folder: Torchvision's name of its class, and of the folder.
        train_images, train_labels, test_images, test_labels: Names of the files in `raw/`.
        classes: Names of the classes in the order of their labels.
        subject: What an image shows.
        first_label: Label of the first class.
        transposed: Rows and columns of each image are exchanged in the files.
        split: Torchvision's name of the split, for a data set that has several.
        training_samples: Number of training samples.

    """

    folder: str
    train_images: str = "train-images-idx3-ubyte"
    train_labels: str = "train-labels-idx1-ubyte"
    test_images: str = "t10k-images-idx3-ubyte"
    test_labels: str = "t10k-labels-idx1-ubyte"
    classes: tuple[str, ...] = DIGITS
    subject: str = "digit"
    first_label: int = 0
    transposed: bool = False
    split: str = ""
    training_samples: int = 60_000

    @property
    def largest_file(self) -> int:
        """The number of bytes that the files have at most, packed or not, with room to spare."""
        return max(1 << 26, 1024 * self.training_samples)

    @property
    def files(self) -> tuple[str, str, str, str]:
        """The names of the four files."""
        return (self.train_images, self.train_labels, self.test_images, self.test_labels)

    def raw(self, data_dir: Path) -> Path:
        """Return the folder of the files in torchvision's layout."""
        return data_dir / self.folder / "raw"


def _emnist(
    split: str, training_samples: int, classes: tuple[str, ...], first_label: int = 0
) -> DatasetFiles:
    """Return a split of EMNIST (Cohen et al. 2017), whose images are stored transposed."""
    return DatasetFiles(
        "EMNIST",
        train_images=f"emnist-{split}-train-images-idx3-ubyte",
        train_labels=f"emnist-{split}-train-labels-idx1-ubyte",
        test_images=f"emnist-{split}-test-images-idx3-ubyte",
        test_labels=f"emnist-{split}-test-labels-idx1-ubyte",
        classes=classes,
        subject="digit" if classes == DIGITS else "character",
        first_label=first_label,
        transposed=True,
        split=split,
        training_samples=training_samples,
    )


CATALOGUE = {
    "mnist": DatasetFiles("MNIST"),
    "fashion-mnist": DatasetFiles(
        "FashionMNIST",
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        subject="garment",
    ),
    "kmnist": DatasetFiles("KMNIST", classes=tuple("おきすつなはまやれを"), subject="character"),
    "qmnist": DatasetFiles(
        "QMNIST",
        train_images="qmnist-train-images-idx3-ubyte",
        train_labels="qmnist-train-labels-idx2-int",
        test_images="qmnist-test-images-idx3-ubyte",
        test_labels="qmnist-test-labels-idx2-int",
    ),
    "emnist-letters": _emnist(
        "letters", 124_800, _LETTERS, first_label=1
    ),  # capital or small, one class
    "emnist-balanced": _emnist("balanced", 112_800, _MERGED),
    "emnist-byclass": _emnist("byclass", 697_932, (*DIGITS, *_LETTERS, *_SMALL_LETTERS)),
    "emnist-bymerge": _emnist("bymerge", 697_932, _MERGED),
    "emnist-digits": _emnist("digits", 240_000, DIGITS),
    "emnist-mnist": _emnist("mnist", 60_000, DIGITS),
}


def class_names(dataset: str) -> tuple[str, ...] | None:
    """Return the names of the classes of a data set, or None if it is not of the catalogue."""
    return CATALOGUE[dataset].classes if dataset in CATALOGUE else None


def number_of_classes(dataset: str) -> int:
    """Return the number of classes of a data set in a training that has begun."""
    names = class_names(dataset)
    return number_in_name(dataset) if names is None else len(names)


def subject_of(classes: tuple[str, ...], dataset: str = "") -> str:
    """Return what an image shows, such as `digit`, or `image` if that is not known."""
    if dataset in CATALOGUE:
        return CATALOGUE[dataset].subject
    if set(classes) <= set(DIGITS):
        return "digit"
    return "character" if all(len(name) == 1 for name in classes) else "image"


# SHA-256 of the original MNIST files, uncompressed. Other data sets are checked by torchvision.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
