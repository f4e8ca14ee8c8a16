"""Many ranks train as one process does: losses and scores."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scaling.cases import CASES, TOLERANCE, losses_of
from benchmarks.scaling.equivalence import Losses, difference, losses_with
from mnist_cli.data.splits import Dataset
from mnist_cli.runtime.distributed.group import ProcessGroup
from tests.helpers.fork_server import ForkServer
from tests.helpers.launching import Launcher
from tests.helpers.rank_script import judged_in
from tests.torture.amount import LONG

# The stricter precision, and both in `make torture`.
DTYPES = [*TOLERANCE] if LONG else ["float64"]


@pytest.fixture(scope="module")
def losses_of_one(
    fork_server: ForkServer, clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Losses:
    launcher = Launcher(fork_server, clean_env, tmp_path_factory.mktemp("one"))
    [found] = launcher.script("losses", *DTYPES, ranks=1)
    return found


@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.torture), 3])
def test_ranks_have_the_losses_of_one_process(
    ranks: int, losses_of_one: Losses, launcher: Launcher
) -> None:
    found = launcher.script("losses", *DTYPES, ranks=ranks)
    assert all(other == found[0] for other in found)  # what one rank decides by, all do
    for dtype in DTYPES:
        most, cases = TOLERANCE[dtype], judged_in(dtype)
        for case, ours, theirs in zip(cases, found[0][dtype], losses_of_one[dtype], strict=True):
            assert difference(ours, theirs) <= most, (dtype, case.name, case.about)


@pytest.mark.parametrize("model", ["quick", "upright"])
def test_micro_batches_have_the_losses_of_whole_batches(model: str, mnist: Dataset) -> None:
    """With augmentation, an ensemble, a teacher and averaged weights."""
    (case,) = (case for case in CASES if case.config.ema)
    found = []
    for size in (512, 7):
        config = replace(case.config, model=model, subset=157, batch_size=50, micro_batch_size=size)
        found.append(losses_of(config, "float64", mnist, ProcessGroup(), updates=8))
    assert len(found[0]) == 9
    assert difference(*found) <= TOLERANCE["float64"]


@pytest.mark.torture
def test_under_torchrun_ranks_have_the_losses_of_one_process_in_every_case(mnist_dir: Path) -> None:
    one = losses_with(1, str(mnist_dir))
    for ranks in (2, 3):
        found = losses_with(ranks, str(mnist_dir))
        for dtype, most in TOLERANCE.items():
            for place, case in enumerate(CASES):
                if dtype == "float64" or not case.chaotic:
                    apart = difference(found[dtype][place], one[dtype][place])
                    assert apart <= most, (ranks, dtype, case.name)


def test_ranks_score_a_checkpoint_as_one_process_does_to_the_last_bit(
    trained: Path, launcher: Launcher
) -> None:
    [one] = launcher.script("score", str(trained), ranks=1)
    for ranks in (2, 3):
        assert launcher.script("score", str(trained), ranks=ranks) == [one] * ranks
