"""Keras on its PyTorch backend: `compile` and `fit`, the same networks, Adam, batches of 64."""

import argparse
import json
import os
import time

os.environ["KERAS_BACKEND"] = "torch"  # before keras is imported

import keras
import numpy as np
from keras import layers

from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.splits import Split


def network(name: str) -> keras.Model:
    """Return the `mlp` or the `cnn`."""
    if name == "mlp":
        hidden = [
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(128, activation="relu"),
        ]
    else:
        hidden = [
            layers.Conv2D(16, 6, strides=2, activation="relu"),
            layers.Conv2D(32, 4, strides=2, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
        ]
    return keras.Sequential([keras.Input((28, 28, 1)), *hidden, layers.Dense(10)])


def pixels(split: Split) -> np.ndarray:
    """Return the images `float32 [N, 28, 28, 1]`, from 0 to 1."""
    return split.images.numpy()[..., None].astype(np.float32) / 255


def main() -> None:
    """Train for a number of epochs and print a JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    data = load_dataset("mnist", options.data_dir)
    images, labels = pixels(data.train), data.train.labels.numpy()
    model = network(options.model)
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    began = time.perf_counter()
    model.fit(images, labels, batch_size=64, epochs=options.epochs, verbose=0)
    seconds = time.perf_counter() - began
    test = (pixels(data.test), data.test.labels.numpy())
    _, accuracy = model.evaluate(*test, batch_size=1000, verbose=0)
    print(
        json.dumps(
            {"seconds": seconds, "samples": len(labels) * options.epochs, "accuracy": accuracy}
        )
    )


if __name__ == "__main__":
    main()
