"""The paths of the runs' weights: recorded, kept over interruptions, and projected on a plane."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from mnist_cli.comparison import path as path_module
from mnist_cli.comparison.compare import compare
from mnist_cli.comparison.events import PathPlane, RunEnd, RunProgress
from mnist_cli.comparison.path import MAX_SNAPSHOTS, RunPath, plane_of
from mnist_cli.comparison.path import Path as WeightPath
from mnist_cli.comparison.records import RunFolder
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import CompareConfig
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import MnistError
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.evaluation.metrics import EvaluationResult
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
            Variant(size),
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


def test_snapshots_are_bounded_and_evenly_spread_and_survive_a_file() -> None:
    model, path = build_model("linear"), WeightPath({})
    for update in range(200):
        path.add(update, model)
    found = WeightPath.decode(path.encode((199, model)), 7850)
    assert [*found] == [*range(0, 200, 8), 199]
    assert len(found) <= MAX_SNAPSHOTS
    whole = path.encode()
    damages = [b"", whole[:1000], b"x" + whole[1:], whole * 2]
    for shape in ("(10000000000000,)", f"({2**70},)", "(True,)", "2, 3: 4", "(", "1 2"):
        damages.append(whole[:10] + _header(shape) + whole[128:])
    for damaged in damages:
        with pytest.raises(ValueError, match=r"."):
            WeightPath.decode(damaged, 7850)
    with pytest.raises(ValueError, match="does not fit"):
        WeightPath.decode(whole, 7851)


def _header(shape: str) -> bytes:
    """Return a header of a NumPy file, which begins after ten bytes, with this shape."""
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}"
    return header.ljust(117).encode() + b"\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_snapshots_is_not_read(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    run = Mock()
    run.name = "16-seed0"
    os.mkfifo(tmp_path / "16-seed0.path.npy")
    assert folder.snapshots(run, build_model("linear")) == {}


def test_an_interrupted_run_whose_snapshots_are_lost_goes_on_without_a_path(
    asked: CompareConfig,
) -> None:
    config = replace(asked, probe="path", probe_samples=50, batch_sizes="30", seeds=1)
    with pytest.raises(MnistError, match="interrupted"):
        for event in compare(config):
            if isinstance(event, RunProgress) and event.update == 5:
                signal.raise_signal(signal.SIGINT)
    (lost,) = Path(asked.output).glob("*.path.npy")
    lost.write_bytes(b"damaged")
    events = run(config)
    assert of(RunEnd, events)[0].update == 20
    assert of(PathPlane, events) == []


def test_the_contours_are_those_of_the_whole_training_set_though_it_is_sorted(
    asked: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples: list[Split] = []

    def measured(model: nn.Module, split: Split, *, pool: ThreadPool) -> EvaluationResult:
        samples.append(split)
        return evaluate(model, split, pool=pool)

    monkeypatch.setattr(path_module, "evaluate", measured)
    run(replace(asked, probe="path", probe_samples=100, sort_by_class=True, seeds=1))
    assert {*samples[0].labels.tolist()} == {*range(10)}


def test_a_signal_while_the_plane_is_measured_interrupts_the_comparison(
    asked: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(asked, probe="path", probe_samples=50, batch_sizes="30", seeds=1)

    def interrupted(model: nn.Module, split: Split, *, pool: ThreadPool) -> EvaluationResult:
        signal.raise_signal(signal.SIGTERM)
        return evaluate(model, split, pool=pool)

    with monkeypatch.context() as patch:
        patch.setattr(path_module, "evaluate", interrupted)
        with pytest.raises(MnistError, match="while the plane of the paths was measured"):
            run(config)
    assert len(of(PathPlane, run(config))) == 1


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


@pytest.mark.parametrize(
    ("across", "up"),
    [([], [0.0, 1.0]), ([0.0], [0.0, 1.0]), ([1.0, 1.0], [0.0, 1.0]), ([0.0, 1.0], [1.0, 0.0])],
)
def test_a_plane_whose_grid_has_no_area_is_damaged(across: list[float], up: list[float]) -> None:
    losses = [[1.0] * len(across)] * len(up)
    with pytest.raises(ValueError, match="do not fit"):
        PathPlane(0.0, 0, 1.0, 50, [16], [[0]], [[0.0]], [[0.0]], across, up, losses)
