"""The data sets: torchvision's folders and file names, and the checksums of MNIST."""

from dataclasses import dataclass
from pathlib import Path

IMAGE_SHAPE = (28, 28)
CLASSES = 10
TRAINING_SAMPLES = 60_000  # of each data set
# Mean and standard deviation of the pixels of MNIST's 60,000 training images, scaled to 0 to 1.
MEAN, STD = 0.1307, 0.3081


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a data set: torchvision's name of its class and folder, and those in `raw/`."""

    folder: str
    train_images: str = "train-images-idx3-ubyte"
    train_labels: str = "train-labels-idx1-ubyte"
    test_images: str = "t10k-images-idx3-ubyte"
    test_labels: str = "t10k-labels-idx1-ubyte"

    @property
    def files(self) -> tuple[str, str, str, str]:
        """The names of the four files."""
        return (self.train_images, self.train_labels, self.test_images, self.test_labels)

    def raw(self, data_dir: Path) -> Path:
        """Return the folder of the files in torchvision's layout."""
        return data_dir / self.folder / "raw"


CATALOGUE = {
    "mnist": DatasetFiles("MNIST"),
    "fashion-mnist": DatasetFiles("FashionMNIST"),
    "kmnist": DatasetFiles("KMNIST"),
    "qmnist": DatasetFiles(
        "QMNIST",
        train_images="qmnist-train-images-idx3-ubyte",
        train_labels="qmnist-train-labels-idx2-int",
        test_images="qmnist-test-images-idx3-ubyte",
        test_labels="qmnist-test-labels-idx2-int",
    ),
}

DIGIT_DATASETS = ("mnist", "qmnist")  # the others show clothes and Japanese characters

# SHA-256 of the original MNIST files, uncompressed. Other data sets are checked by torchvision.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
