"""The paths of the runs' weights, and the plane that holds most of them.

The plane is that of the two largest principal directions of all recorded weights of the runs with
the first seed (Li et al. 2018, section 7, for one run). What lies outside it is not seen: it is the
`share` of the variance that tells how much that is.
"""

import io
import math
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mnist_cli.comparison.events import PathPlane
from mnist_cli.comparison.thinned import Thinned
from mnist_cli.comparison.variants import Variant
from mnist_cli.data.splits import Split
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.runtime.device import ThreadPool

MAX_SNAPSHOTS = 40  # of a run
_MAX_IN_MEMORY = 240  # snapshots of all runs
_GRID = 25  # points along each side
_MARGIN = 0.12  # of the paths' extent, on each side
_MIN_HEIGHT = 0.5  # of the width: what a page can show at one scale
_WORST_LOSS = 1e6  # larger ones, and what is no number, are drawn as this
# What NumPy raises, apart from ValueError, for a damaged header, such as one of a gigantic shape.
_DAMAGE = (ArithmeticError, EOFError, MemoryError, SyntaxError, tokenize.TokenError, TypeError)


def max_bytes(parameters: int) -> int:
    """Return the size that no file of snapshots exceeds."""
    return 2 * parameters * (MAX_SNAPSHOTS + 1) + (1 << 14)


class Path:
    """Snapshots of a run's weights: of every update, or of evenly spread ones of many."""

    def __init__(self, snapshots: Mapping[int, Tensor]) -> None:
        self._snapshots = Thinned(MAX_SNAPSHOTS, snapshots)

    def add(self, update: int, model: nn.Module) -> None:
        """Add the weights after an update, or before the first one."""
        if self._snapshots.is_kept(update):
            self._snapshots.add(update, _snapshot(model))

    def encode(self, last: tuple[int, nn.Module] | None = None) -> bytes:
        """Return the contents of a file; `last` adds the weights at the end of the run."""
        snapshots = dict(self._snapshots.values)
        if last is not None:
            update, model = last
            snapshots[update] = _snapshot(model)
        buffer = io.BytesIO()
        np.save(buffer, np.array([*snapshots], dtype=np.int64))
        np.save(buffer, torch.stack([*snapshots.values()]).numpy())
        return buffer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parameters: int) -> dict[int, Tensor]:
        """Return the snapshots in a file, by update.

        Raises:
            ValueError: the file is damaged, or of another network.

        """
        if len(data) > max_bytes(parameters):
            raise ValueError("it is too large")
        buffer = io.BytesIO(data)
        try:
            updates = np.lib.format.read_array(buffer, allow_pickle=False)
            weights = np.lib.format.read_array(buffer, allow_pickle=False)
        except _DAMAGE as error:
            raise ValueError(f"it is no file of snapshots: {error}") from error
        fits = weights.dtype == np.float16 and weights.shape == (updates.size, parameters)
        counts = updates.dtype == np.int64 and updates.ndim == 1 and (np.diff(updates) > 0).all()
        if not (fits and counts and np.isfinite(weights).all()):
            raise ValueError("it does not fit the network")
        return dict(zip(updates.tolist(), torch.from_numpy(weights), strict=True))


def _snapshot(model: nn.Module) -> Tensor:
    """Return the weights of a network, `float16 [P]`."""
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    return weights.to("cpu", torch.float16)


@dataclass(frozen=True)
class RunPath:
    """The snapshots of a run by update."""

    variant: Variant
    snapshots: dict[int, Tensor]


def plane_of(
    paths: Sequence[RunPath],
    model: nn.Module,
    sample: Split,
    *,
    pool: ThreadPool,
    seconds: float,
    seed: int,
) -> PathPlane | None:
    """Return the plane of the paths, and the loss over `sample` on a grid of it.

    It takes 625 evaluations of the sample. It is None if all weights are the same.
    """
    most = max(2, _MAX_IN_MEMORY // len(paths))
    kept = [_thinned([*path.snapshots], most) for path in paths]
    rows = torch.stack(
        [path.snapshots[u].float() for path, some in zip(paths, kept, strict=True) for u in some]
    )
    mean = rows.mean(0)
    rows -= mean
    values, vectors = torch.linalg.eigh((rows @ rows.T).double())
    variance = float(values.sum())
    if not variance > 0:
        return None
    largest = values[-2:].flip(0).clamp(min=1e-12 * variance)
    axes = vectors[:, -2:].flip(1) * (-vectors[:1, -2:].flip(1)).sign()  # begins left and below
    places = axes * largest.sqrt()
    directions = (axes / largest.sqrt()).T.float() @ rows
    xs, ys = _extent(places)
    losses = [
        [_loss(mean + x * directions[0] + y * directions[1], model, sample, pool) for x in xs]
        for y in ys
    ]
    points = iter(places.tolist())
    each = [[next(points) for _ in some] for some in kept]
    return PathPlane(
        seconds=seconds,
        seed=seed,
        share=float(largest.sum()) / variance,
        samples=len(sample),
        batch_sizes=[path.variant.batch_size for path in paths],
        settings=[path.variant.setting for path in paths],
        updates=kept,
        across=[[x for x, _ in path] for path in each],
        up=[[y for _, y in path] for path in each],
        grid_across=xs,
        grid_up=ys,
        losses=losses,
    )


def _thinned(updates: list[int], most: int) -> list[int]:
    """Return at most so many updates, the first and the last among them."""
    if len(updates) <= most:
        return updates
    return [updates[k * (len(updates) - 1) // (most - 1)] for k in range(most)]


def _extent(places: Tensor) -> tuple[list[float], list[float]]:
    """Return the places of the grid's columns and rows around all points."""
    low, high = places.min(0).values, places.max(0).values
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 2 * _MARGIN)
    half[1] = torch.clamp(half[1], min=_MIN_HEIGHT * half[0])
    half[0] = torch.clamp(half[0], min=half[1])
    columns, rows = (
        torch.linspace(float(m - h), float(m + h), _GRID).tolist()
        for m, h in zip(middle, half, strict=True)
    )
    return columns, rows


def _loss(weights: Tensor, model: nn.Module, sample: Split, pool: ThreadPool) -> float:
    parameters = list(model.parameters())
    nn.utils.vector_to_parameters(weights.to(parameters[0]), parameters)
    loss = evaluate(model, sample, pool=pool).loss
    return min(loss, _WORST_LOSS) if math.isfinite(loss) else _WORST_LOSS
