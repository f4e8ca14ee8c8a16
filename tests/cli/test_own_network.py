"""A network of one's own through the installed programs."""

import json
from pathlib import Path

import pytest

from tests.helpers.launching import STEADY, Launcher, events
from tests.helpers.shell import Shell
from tests.models.test_own import EXAMPLE, HEAD

NET = "my_net.py:Net"
PICTURE = str(next((Path(__file__).parents[1] / "drawn" / "images").glob("*7*.png")))
SMALL = "--subset 640 --epochs 1".split()


@pytest.fixture
def with_net(mnist_shell: Shell) -> Shell:
    (mnist_shell.folder / "my_net.py").write_text(EXAMPLE.read_text())
    (mnist_shell.folder / "nets.py").write_text(HEAD)
    return mnist_shell


def test_a_network_goes_through_all_programs(with_net: Shell) -> None:
    done = with_net("mnist-train", "--model", NET, *SMALL, "-o", "my.pt")
    assert (done.code, done.out) == (0, "my.pt\n")
    assert "my_net.py:Net: 18,378 parameters; images [N, 1, 28, 28] normalised" in done.err
    assert "Training Net (18,378 parameters)" in done.err
    assert "Next: mnist-eval my.pt --model my_net.py:Net" in done.err
    assert "or predict your own digits: mnist-predict my.pt --model my_net.py:Net" in done.err
    for program in (("mnist-eval", "my.pt"), ("mnist-predict", "my.pt", PICTURE)):
        done = with_net(*program)
        assert (done.code, done.out) == (2, "")
        assert done.err.endswith("run only if you name it: --model my_net.py:Net\n")
        done = with_net(*program, "--model", NET)
        assert (done.code, len(done.out.splitlines())) == (0, 1), done.err
    done = with_net("mnist-train", "--resume", "my.pt", "--epochs", "2")
    assert done.code == 2
    assert "run only if you name it: --model my_net.py:Net" in done.err
    done = with_net("mnist-train", "--resume", "my.pt", "--epochs", "2", "--model", NET, "--json")
    start, *_, end = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, end["update"]) == (0, 20)
    assert start["config"]["model"].startswith("Net@")
    for name in ("my.safetensors", "my.onnx"):
        done = with_net("mnist-export", "my.pt", name, "--model", NET)
        assert (done.code, done.out) == (0, f"{name}\n"), done.err
        assert (with_net.folder / name).exists()


def test_networks_are_compared_and_probed(with_net: Shell) -> None:
    options = "--batch-sizes 64 --subset 640 --epochs 1 --seeds 2 --probe noise --json".split()
    vary = f"model=linear,{NET}"
    done = with_net("mnist-compare", "--vary", vary, *options)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines() if '"summary"' in line]
    assert [row["setting"] for row in rows] == ["model linear", f"model {NET}"]
    assert all(row["noise_scale"]["mean"] > 0 for row in rows)


def test_two_ranks_train_it_as_one(with_net: Shell, launcher: Launcher) -> None:
    net = str(with_net.folder / "my_net.py:Net")
    options = [*SMALL, *STEADY, "--augment", "none", "--model", net, "--json", "-q"]
    losses = []
    for ranks in (1, 2):
        first, *others = launcher.train(*options, "-o", f"{ranks}.pt", ranks=ranks)
        assert (first.code, first.err) == (0, "")
        assert all((one.code, one.err) == (0, "") for one in others)
        losses.append(events(first.out)[-2]["test_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("name", ["Normed", "Dropped"])
def test_ranks_that_would_change_the_result_are_refused(
    name: str, with_net: Shell, launcher: Launcher
) -> None:
    done = launcher.train(*SMALL, "--model", str(with_net.folder / f"nets.py:{name}"), ranks=2)
    assert [one.code for one in done] == [2, 2]
    assert f"2 ranks would divide each update, which {name} does not allow" in done[0].err
