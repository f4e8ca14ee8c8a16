"""The network, optimizer and settings of PyTorch's own MNIST example, until a test accuracy.

Two 3x3 convolutions of 32 and 64 channels, max pooling, dropout, two dense layers; Adadelta from
rate 1, times 0.7 after every epoch; batches of 64; pixels normalised. Prints a JSON object an
epoch: the seconds since the start of the program's `main`, and the test accuracy.
"""

import argparse
import json
import time

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from benchmarks.references import torchvision_mnist


class Net(nn.Module):
    """1.2 million parameters, 12 million multiplications a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.dense1 = nn.Linear(64 * 12 * 12, 128)
        self.dense2 = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return log-probabilities `[N, 10]`."""
        maps = F.relu(self.conv1(images))
        maps = F.relu(self.conv2(maps))
        features = torch.flatten(self.dropout1(F.max_pool2d(maps, 2)), 1)
        hidden = self.dropout2(F.relu(self.dense1(features)))
        return F.log_softmax(self.dense2(hidden), dim=1)


def test_accuracy(model: nn.Module, loader: DataLoader) -> float:
    """Return the share of correct samples."""
    model.eval()
    correct = samples = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += model(images).argmax(1).eq(labels).sum().item()
            samples += len(labels)
    return correct / samples


def main() -> None:
    """Train until the test accuracy is reached at the end of an epoch."""
    began = time.perf_counter()
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--until", type=float, default=0.99)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    train = torchvision_mnist(options.data_dir, train=True, normalize=True)
    test = torchvision_mnist(options.data_dir, train=False, normalize=True)
    train_loader = DataLoader(train, batch_size=64, shuffle=True)
    test_loader = DataLoader(test, batch_size=1000)
    model = Net()
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    for epoch in range(1, options.epochs + 1):
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = F.nll_loss(model(images), labels)
            loss.backward()
            optimizer.step()
        accuracy = test_accuracy(model, test_loader)
        seconds = time.perf_counter() - began
        print(json.dumps({"epoch": epoch, "seconds": seconds, "accuracy": accuracy}), flush=True)
        if accuracy >= options.until:
            break
        scheduler.step()


if __name__ == "__main__":
    main()
