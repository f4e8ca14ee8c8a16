"""Programs to compare with, written in the plainest idiomatic way of each library."""

from typing import Any

from mnist_cli.data.download import import_datasets


def torchvision_mnist(data_dir: str, *, train: bool, normalize: bool = False) -> Any:  # noqa: ANN401
    """Return `torchvision.datasets.MNIST` with `ToTensor`, as most programs have it."""
    datasets = import_datasets()  # first: it makes torchvision importable beside a CPU torch
    from torchvision import transforms  # noqa: PLC0415

    steps = [transforms.ToTensor()]
    if normalize:
        steps.append(transforms.Normalize((0.1307,), (0.3081,)))
    return datasets.MNIST(
        data_dir, train=train, download=False, transform=transforms.Compose(steps)
    )
