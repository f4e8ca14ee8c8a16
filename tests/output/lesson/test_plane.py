"""The plane of the paths, held against numpy, and the loss in it, held against PyTorch."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from mnist_cli.data.splits import Dataset
from tests.output.lesson.helpers import WorkerPage, network_of, run

Vectors = npt.NDArray[np.float64]


def walk(page: WorkerPage, *runs: dict[str, Any], updates: int) -> tuple[list[Vectors], list[Any]]:
    """Return each run's weights `[update, weight]`, and the planes after the last update."""
    states = [page.configure(*runs, seed=2)[-1], *(page.step() for _ in range(updates))]
    weights = [
        np.array([state["runs"][n]["weights"] for state in states]) for n in range(len(runs))
    ]
    names = list(dict.fromkeys(one["network"] for one in runs))
    plane = "(one) => one.type === 'plane' ? [one.network] : []"
    until = f"new Set(heard.flatMap({plane})).size === {len(names)}"
    heard = page.ask({"type": "plane"}, until=until)
    planes = {one["network"]: one for one in heard if one["type"] == "plane"}
    return weights, [planes[name] for name in names]


def axes_of(way: Vectors, other: Vectors) -> tuple[Vectors, Vectors]:
    x = way / np.linalg.norm(way)
    rest = other - (other @ x) * x
    return x, rest / np.linalg.norm(rest)


@pytest.mark.parametrize("network", ["linear", "hidden"])
def test_paths_and_contours_are_those_of_the_plane(
    page: WorkerPage, samples: Dataset, network: str
) -> None:
    weights, [plane] = walk(page, run(network, 64, lr=0.02), run(network, 2000), updates=6)
    start = weights[0][0]
    x, y = axes_of(*(one[-1] - start for one in weights))
    assert (plane["network"], plane["runs"], plane["start"]) == (network, [0, 1], [0, 0])
    for index in range(2):
        ways = weights[index] - start
        inside = np.stack([ways @ x, ways @ y], 1)
        path = np.array(plane["paths"][index])
        assert path[:, 2].tolist() == list(range(7))
        np.testing.assert_allclose(path[:, :2], inside, atol=1e-5)
        outside = ways - inside @ np.stack([x, y])
        share = np.linalg.norm(outside) / np.linalg.norm(ways)
        assert plane["outside"][index] == pytest.approx(share, abs=1e-4)
        share = np.linalg.norm(np.diff(outside, axis=0)) / np.linalg.norm(np.diff(ways, axis=0))
        assert plane["outsideSteps"][index] == pytest.approx(share, abs=1e-4)

    grid = plane["grid"]
    for point in np.concatenate([path[:, :2] for path in map(np.array, plane["paths"])]):
        assert grid["x0"] < point[0] < grid["x1"]
        assert grid["y0"] < point[1] < grid["y1"]
    values = np.array(grid["values"]).reshape(grid["rows"], grid["columns"])
    for row, column in [(0, 0), (0, -1), (-1, 0), (-1, -1), (7, 11), (12, 5)]:
        at_x = np.linspace(grid["x0"], grid["x1"], grid["columns"])[column]
        at_y = np.linspace(grid["y0"], grid["y1"], grid["rows"])[row]
        model = network_of(network, (start + at_x * x + at_y * y).astype(np.float32))
        with torch.no_grad():
            loss = F.cross_entropy(model(samples.train.images), samples.train.labels.long())
        assert values[row, column] == pytest.approx(loss.item(), rel=1e-5)


def test_runs_of_two_networks_are_drawn_each_in_its_principal_direction(page: WorkerPage) -> None:
    weights, planes = walk(page, run("linear", 64), run("hidden", 64), updates=6)
    for index, (network, plane) in enumerate(zip(("linear", "hidden"), planes, strict=True)):
        assert (plane["network"], plane["runs"]) == (network, [index])
        ways = weights[index] - weights[index][0]
        x = ways[-1] / np.linalg.norm(ways[-1])
        rests = ways - np.outer(ways @ x, x)
        [path] = np.array(plane["paths"])
        np.testing.assert_allclose(path[:, 0], ways @ x, atol=1e-5)
        largest = np.linalg.svd(rests, compute_uv=False)[0]
        assert np.linalg.norm(path[:, 1]) == pytest.approx(largest, rel=1e-3)


def test_the_plane_of_a_single_update_and_of_none(page: WorkerPage) -> None:
    """One update is on a line: the plane adds the direction of the next gradient."""
    [plane] = walk(page, run("linear", 64), updates=1)[1]
    assert plane["outside"] == [pytest.approx(0, abs=1e-3)]
    assert plane["paths"][0][1] == [
        pytest.approx(plane["paths"][0][1][0]),
        pytest.approx(0, abs=1e-6),
        1,
    ]
    page.configure(run("linear", 64))
    heard = page.ask(
        {"type": "plane"},
        {"type": "read", "id": 1, "pixels": [0] * 784},
        until="last.type === 'reading'",
    )
    assert [one["type"] for one in heard] == ["reading"]


def test_a_run_that_diverged_is_left_out(page: WorkerPage) -> None:
    page.configure(run("hidden", 64, lr=1e6), run("hidden", 64))
    play = {
        "type": "play",
        "pace": "updates",
        "rate": 0,
        "measure": "some",
        "until": {"updates": 5},
    }
    heard = page.ask(play, until="last.type === 'plane'")
    assert heard[-1]["runs"] == [1]
    assert [one for one in heard if one["type"] == "state"][-1]["runs"][0]["at"] is None


@pytest.mark.parametrize("aspect", [0.5, 2.5])
def test_the_grid_fills_the_picture(page: WorkerPage, aspect: float) -> None:
    page.configure(run("linear", 64), run("linear", 2000))
    page.step(3)
    picture = {"type": "picture", "aspect": aspect}
    # The plane of the former picture may still be on its way.
    sides = "[last.grid.x1 - last.grid.x0, last.grid.y1 - last.grid.y0]"
    until = f"last.type === 'plane' && Math.abs({sides}[0] / {sides}[1] / {aspect} - 1) < 1e-6"
    grid = page.ask(picture, until=until)[-1]["grid"]
    assert (grid["x1"] - grid["x0"]) / (grid["y1"] - grid["y0"]) == pytest.approx(aspect)
