"""scikit-learn's MLPClassifier: the same two hidden layers, Adam, batches of 64."""

import argparse
import json
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.splits import Split


def pixels(split: Split) -> np.ndarray:
    """Return the images as rows, `float32 [N, 784]`, from 0 to 1."""
    return split.images.numpy().reshape(len(split), -1).astype(np.float32) / 255


def main() -> None:
    """Train for a number of epochs and print a JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()

    data = load_dataset("mnist", options.data_dir)
    images, labels = pixels(data.train), data.train.labels.numpy()
    model = MLPClassifier((256, 128), batch_size=64, max_iter=options.epochs, random_state=0)
    warnings.simplefilter("ignore", ConvergenceWarning)
    began = time.perf_counter()
    model.fit(images, labels)
    seconds = time.perf_counter() - began
    accuracy = model.score(pixels(data.test), data.test.labels.numpy())
    print(
        json.dumps(
            {"seconds": seconds, "samples": len(labels) * options.epochs, "accuracy": accuracy}
        )
    )


if __name__ == "__main__":
    main()
