"""Which column the labels are: found right, or asked for, but never guessed wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_cli.data.datasets import Dataset
from mnist_cli.data.own.reading import OwnData, read_own
from mnist_cli.errors import DataError
from tests.helpers.own_data import Array, rows, write
from tests.torture.amount import count


def changed(images: Array, how: str, draw: np.random.Generator) -> Array:
    """Return images as other people have them."""
    match how:
        case "noise":
            return np.clip(images + draw.normal(20, 10, images.shape), 0, 255).astype(np.uint8)
        case "light":
            return 255 - images
        case "strong":
            return np.clip(images.astype(int) * 2, 0, 255).astype(np.uint8)
        case "cut":  # digits reach the corners
            size, margin = images.shape[1:], images.shape[1] // 6
            box = (margin, margin, size[0] - margin, size[1] - margin)
            return np.stack([np.asarray(Image.fromarray(i).crop(box).resize(size)) for i in images])
    return images


def labelled(labels: Array, kind: str, draw: np.random.Generator) -> Array:
    """Return labels as other people have them."""
    match kind:
        case "two":
            return (labels > 4).astype(int)
        case "one":
            return np.full(len(labels), draw.choice([0, 3]))
        case "rare":
            return (np.arange(len(labels)) % 50 == 0).astype(int)
        case "many":
            return draw.integers(0, 47, len(labels))
    return labels.astype(int)


def read(path: Path) -> tuple[OwnData | None, str]:
    """Return a set, or None and why it is refused."""
    try:
        return read_own(path), ""
    except DataError as error:
        return None, str(error)


@pytest.mark.parametrize("case", range(count(60, 1000)))
def test_labels_are_found_right_or_asked_for(case: int, mnist: Dataset, tmp_path: Path) -> None:
    draw = np.random.default_rng(case)
    chosen = draw.choice(60_000, draw.choice([12, 30, 100, 400]), replace=False)
    side = draw.choice([8, 12, 16, 28])
    images = np.stack(
        [
            np.asarray(Image.fromarray(i).resize((side, side)))
            for i in mnist.train.images[chosen].numpy()
        ]
    )
    how = draw.choice(["as they are", "noise", "light", "strong", "cut"])
    kind = draw.choice(["all", "sorted", "two", "one", "rare", "many"])
    images = changed(images, how, draw)
    labels = labelled(mnist.train.labels[chosen].numpy(), kind, draw)
    if kind == "sorted":
        order = np.argsort(labels, kind="stable")
        images, labels = images[order], labels[order]
    lines = rows(images, labels, last=bool(draw.integers(2)))
    if draw.integers(4) == 0:
        lines = [f"{number},{line}" for number, line in enumerate(lines)]
    path = write(tmp_path / "a.csv", lines)
    own, asked = read(path)
    if own is None:
        assert "--label-column" in asked
        ordinary = how in ("as they are", "light") and kind in ("all", "sorted")
        assert not (ordinary and side == 28 and len(labels) >= 100), "no need to ask"
        return
    assert own.train.labels is not None
    assert [own.classes[label] for label in own.train.labels] == [str(label) for label in labels]
