"""The noise scale estimated from an update's micro-batches: unbiased, and free of side effects."""

import math
from collections.abc import Callable, Iterable
from itertools import permutations, product
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mnist_cli.data.batches import EpochShape, TrainingShape
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.models.networks import build_model, weights_sha256
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.seeding import stream
from mnist_cli.training import loop
from mnist_cli.training.loop import EpochPlan, RunningSums, fit
from mnist_cli.training.noise_estimate import NoiseSums, ratio_of_means
from mnist_cli.training.optim import SGD
from mnist_cli.training.probes.noise import noise_scale
from mnist_cli.training.probes.probes import Objective, flat
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer
from tests.helpers.trainings import Configure


def gradients_at_zero(samples: Split) -> torch.Tensor:
    """Return each sample's gradient of softmax regression, where every p is 0.1, `[N, P]`."""
    pixels = (samples.images.flatten(1).double() / 255 - 0.1307) / 0.3081
    excess = 0.1 - F.one_hot(samples.labels.long(), 10).double()
    weight = torch.einsum("no,ni->noi", excess, pixels).flatten(1)
    return torch.cat([weight, excess], 1)


def exact(each: torch.Tensor) -> tuple[float, float]:
    """Return tr Σ and |G|² by their definitions."""
    mean = each.mean(0)
    return float((each - mean).square().sum(1).mean()), float(mean.square().sum())


class FirstOfTwoRanks(ProcessGroup):
    """Rank 0 of two; `others` has what rank 1 adds to each update's gradient."""

    def __init__(self, others: Iterable[torch.Tensor]) -> None:
        super().__init__(RankInfo(0, 2))
        self._others = iter(others)

    def all_reduce(self, values: torch.Tensor) -> None:
        other = next(self._others)
        values[: len(other)] += other


DRAWS: list[Callable[[], Iterable[tuple[int, ...]]]] = [
    lambda: permutations(range(4), 3),
    lambda: product(range(4), repeat=3),
]


@pytest.mark.parametrize("micro", [1, 2])  # two of three samples measured; pieces of 1 and 2
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(("draws", "drawn_from"), [*zip(DRAWS, (4, math.inf), strict=True)])
def test_the_mean_over_all_possible_updates_is_exact(
    draws: Callable[[], Iterable[tuple[int, ...]]],
    drawn_from: float,
    ranks: int,
    micro: int,
    few: Split,
) -> None:
    """Updates of three of four samples, in every order, without and with replacement."""
    each = gradients_at_zero(Split(*few[:4]))
    updates = [torch.tensor(indices) for indices in draws()]
    own = slice(0, 3 if ranks == 1 else 1)  # rank 0 of two has one sample
    others = [each[indices[1:]].sum(0) / 3 for indices in updates]
    plan = EpochPlan(
        epoch=1,
        first=0,
        training=TrainingShape(1, (EpochShape(3 * len(updates), 3),)),
        micro_batch_size=micro,
        learning_rate=lambda _: 0.0,
        label_smoothing=0.0,
        clock=lambda: 0.0,
        drawn_from=drawn_from,
    )
    model, sums = build_model("linear").double(), RunningSums()
    batches = [few[indices[own]] for indices in updates]
    group = ProcessGroup() if ranks == 1 else FirstOfTwoRanks(others)
    list(fit(model, SGD(model), batches, plan, sums, pool=ThreadPool(), group=group))
    count = sums.noise.updates
    assert count == len(updates)
    trace, gradient_square = exact(each)
    assert sums.noise.trace / count == pytest.approx(trace, rel=1e-6)  # of the pixels' constants
    assert sums.noise.gradient_square / count == pytest.approx(gradient_square, rel=1e-6)


def make_trainer(mnist: Dataset, configure: Configure, **options: Any) -> Trainer:
    config = configure(optimizer="sgd", momentum=0.0, schedule="constant", **options).resolve(2000)
    state = TrainingState(config, torch.device("cpu"))
    samples = Split(*mnist.train[:2000])
    return Trainer(
        config, state, samples, pool=ThreadPool(), clock=lambda: 0.0, estimates_noise=True
    )


@pytest.mark.parametrize(
    ("model", "batch_size", "micro"), [("linear", 50, 7), ("mlp", 100, 25), ("linear", 100, 100)]
)
@pytest.mark.parametrize("replacement", [True, False])
def test_at_fixed_weights_it_agrees_with_the_exact_noise_within_three_standard_errors(
    *, replacement: bool, model: str, batch_size: int, micro: int, mnist: Dataset, small: Configure
) -> None:
    options = {"batch_size": batch_size, "micro_batch_size": micro, "replacement": replacement}
    trainer = make_trainer(mnist, small, model=model, lr=1e-12, **options)
    objective = Objective(trainer.state.model)
    full = objective.gradient(trainer.train_split)
    known = noise_scale(objective, trainer.train_split, full)
    list(trainer.train_epoch())
    found = trainer.state.sums.noise.ratio()
    if micro == batch_size:  # one micro-batch tells nothing
        assert found is None
        return
    assert found is not None
    assert found.value is not None
    assert found.error is not None
    for value, error, true in (
        (found.numerator, found.numerator_error, known.trace),
        (found.denominator, found.denominator_error, known.gradient_square),
        (found.value, found.error, known.scale),
    ):
        assert error < 0.2 * true, "the updates are too few to show anything"
        assert abs(value - true) < 3 * error


@pytest.mark.parametrize(
    "options",
    [
        {"micro_batch_size": 100},
        {"shuffle": False},
        {"mode": "batch", "batch_size": None},
        {"batch_size": 2000},
    ],
    ids=str,
)
def test_nothing_is_computed_where_there_is_nothing_to_estimate(
    options: dict[str, Any], mnist: Dataset, small: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "square_norm", pytest.fail)
    defaults: dict[str, Any] = {"model": "linear", "batch_size": 100, "micro_batch_size": 50}
    trainer = make_trainer(mnist, small, **{**defaults, **options})
    list(trainer.train_epoch())
    assert trainer.state.sums.noise == NoiseSums()


def test_the_estimate_does_not_change_the_weights(mnist: Dataset, small: Configure) -> None:
    digests = set()
    for estimates_noise in (True, False):
        trainer = make_trainer(mnist, small, model="mlp", batch_size=100, micro_batch_size=30)
        trainer._estimates_noise = estimates_noise
        list(trainer.train_epoch())
        assert (trainer.state.sums.noise.updates > 0) is estimates_noise
        digests.add(weights_sha256(trainer.state.model.state_dict()))
    assert len(digests) == 1


def test_the_error_from_sums_is_the_jackknife_s() -> None:
    generator = stream(0, "test")
    normal = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    pairs = [(4 + a, 2 + (a + b) / 4) for a, b in normal.tolist()]
    sums = NoiseSums()
    for pair in pairs:
        sums.add(*pair)
    found, jackknife = sums.ratio(), ratio_of_means(pairs)
    assert found is not None
    for name in ("value", "numerator", "numerator_error", "denominator", "denominator_error"):
        assert getattr(found, name) == pytest.approx(getattr(jackknife, name), rel=1e-9)
    assert found.error == pytest.approx(jackknife.error, rel=0.01)


def test_there_is_no_noise_scale_where_the_gradient_is_not_clearly_positive() -> None:
    sums = NoiseSums()
    for k in range(9):
        sums.add(1.0, 5.0 if k % 2 else -1.0)
    assert sums.ratio() is None  # too few
    for k in range(9):
        sums.add(1.0, 5.0 if k % 2 else -1.0)
    found = sums.ratio()
    assert found is not None
    assert 0 < found.denominator < 3 * found.denominator_error
    assert (found.value, found.error) == (None, None)


def test_a_norm_that_overflows_is_left_out() -> None:
    assert loop.square_norm([torch.full((3,), 1e25)]) == math.inf
    sums = NoiseSums()
    sums.add(math.inf, -math.inf)
    sums.add(math.nan, 1.0)
    assert sums == NoiseSums()


def test_the_square_norm_is_that_of_all_tensors() -> None:
    tensors = [torch.arange(6.0).view(2, 3), torch.tensor([2.0])]
    assert loop.square_norm(tensors) == pytest.approx(float(flat(tensors).square().sum()))
