"""The paths of the runs' weights: recorded, kept over interruptions, and projected on a plane."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mnist_cli.comparison import path as path_module
from mnist_cli.comparison.events import PathPlane, RunEnd
from mnist_cli.comparison.path import MAX_SNAPSHOTS, RunPath, plane_of
from mnist_cli.comparison.path import Path as WeightPath
from mnist_cli.config.compare import CompareConfig
from mnist_cli.data.datasets import Dataset, Split
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.models.networks import build_model
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.training.probes.path import PathProbe
from tests.helpers.comparisons import of, run, timeless


def test_the_plane_of_paths_that_lie_in_one_holds_all_of_the_way(mnist: Dataset) -> None:
    model, sample = build_model("linear"), Split(*mnist.train[:50])
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    ways = torch.eye(len(start))[:2]
    steps = [(4.0, 0.0), (8.0, 1.0), (8.0, 3.0)], [(2.0, 1.0), (2.0, 3.0), (0.0, 6.0)]
    paths = [
        RunPath(
            size,
            {0: start} | {n: start + torch.tensor(at) @ ways for n, at in enumerate(each, start=1)},
        )
        for size, each in zip((16, "full"), steps, strict=True)
    ]
    plane = plane_of(paths, model, sample, pool=ThreadPool(), seconds=0.0, seed=0)
    assert plane is not None
    assert plane.share == pytest.approx(1)
    assert plane.updates == [[0, 1, 2, 3]] * 2
    places = [list(zip(*axes, strict=True)) for axes in zip(plane.across, plane.up, strict=True)]
    for place, each in zip(places, steps, strict=True):
        for (x, y), step in zip(place, [(0.0, 0.0), *each], strict=True):
            across, up = x - place[0][0], y - place[0][1]
            assert across**2 + up**2 == pytest.approx(step[0] ** 2 + step[1] ** 2, rel=1e-4)
    # The grid's corner is a place in the plane, whose loss is that of the weights there.
    mean = torch.cat([torch.stack([*path.snapshots.values()]) for path in paths]).mean(0)
    points = torch.tensor([at for place in places for at in place])
    weights = torch.cat([torch.stack([*path.snapshots.values()]) for path in paths]) - mean
    directions = torch.linalg.lstsq(points, weights).solution
    corner = mean + torch.tensor([plane.grid_across[0], plane.grid_up[0]]) @ directions
    nn.utils.vector_to_parameters(corner, model.parameters())
    assert plane.losses[0][0] == pytest.approx(evaluate(model, sample).loss, rel=1e-3)


def header_of(count: int) -> bytes:
    """Return the beginning of a NumPy file that is said to have so many integers."""
    start = io.BytesIO()
    about = {"descr": "<i8", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(start, about)
    return start.getvalue()


def test_snapshots_are_bounded_and_evenly_spread_and_survive_a_file() -> None:
    model, path = build_model("linear"), WeightPath()
    for update in range(200):
        path.add(update, model)
    found = WeightPath.decode(path.encode((199, model)), 7850)
    assert [*found] == [*range(0, 200, 8), 199]
    assert len(found) <= MAX_SNAPSHOTS
    whole = path.encode()
    promises = (header_of(10**13), header_of(10**30))  # more values than memory, than a size
    for damaged in (b"", whole[:1000], b"x" + whole[1:], whole * 2, *promises):
        with pytest.raises(ValueError, match=r"."):
            WeightPath.decode(damaged, 7850)
    with pytest.raises(ValueError, match="does not fit"):
        WeightPath.decode(whole, 7851)


def test_the_plane_is_measured_once_and_changes_no_run(
    asked: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(asked, probe="path", probe_samples=50)
    plain = [end.weights_sha256 for end in of(RunEnd, run(asked))]
    first = run(config)
    assert [end.weights_sha256 for end in of(RunEnd, first)] == plain
    (plane,) = of(PathPlane, first)
    assert plane.batch_sizes == [30, 100, "full"]
    assert [updates[-1] for updates in plane.updates] == [20, 6, 2]
    assert 0.5 < plane.share <= 1
    assert len([*Path(asked.output).glob("*.path.npy")]) == 3  # of the first seed
    distances = [event.distance for event in of(PathProbe, first) if event.update == 0]
    assert distances == [0.0] * 6
    monkeypatch.setattr(path_module, "evaluate", None)  # would fail
    again = run(config)
    assert timeless(of(PathPlane, again)) == timeless([plane])
    (stored,) = Path(asked.output).glob("plane-*.jsonl")
    stored.write_text(stored.read_text().replace('"up": [[', '"up": [[0.0, '))
    for file in Path(asked.output).glob("*.path.npy"):
        file.write_bytes(b"damaged")
    assert of(PathPlane, run(config)) == []
