"""The article's program: torchvision's MNIST, a DataLoader, and the plain loop.

Prints a JSON object: the seconds of the epochs (nothing else), samples and test accuracy.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.references import torchvision_mnist, tutorial

NETWORKS = {
    "mlp": lambda: nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    ),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 16, 6, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 3 * 3, 10),
    ),
    "tutorial": tutorial.Net,
}


def main() -> None:
    """Train as the article does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--model", choices=NETWORKS, default="mlp")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batches", type=int, help="stop an epoch after so many")
    options = parser.parse_args()

    torch.manual_seed(0)
    train, test = (torchvision_mnist(options.data_dir, train=part) for part in (True, False))
    train_loader = DataLoader(train, batch_size=64, shuffle=True)
    test_loader = DataLoader(test, batch_size=64, shuffle=False)
    model = NETWORKS[options.model]()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

    began, samples = time.perf_counter(), 0
    model.train()
    for epoch in range(options.epochs):
        for step, (images, labels) in enumerate(train_loader, start=1):
            outputs = model(images)
            loss = criterion(outputs, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            samples += len(labels)
            if step % 100 == 0:
                print(
                    f"Epoch [{epoch + 1}/{options.epochs}], "
                    f"Step [{step}/{len(train_loader)}], Loss: {loss.item():.4f}"
                )
            if step == options.batches:
                break
    seconds = time.perf_counter() - began

    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            correct += (model(images).argmax(1) == labels).sum().item()
    accuracy = correct / len(test)
    print(json.dumps({"seconds": seconds, "samples": samples, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
