"""Losses that the host reads only now and then, so that a GPU need not wait for it.

The tensors here are on the CPU; a stand-in counts what would make the host wait for a GPU.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_cli.data.augment import augmented
from mnist_cli.data.batches import EpochShape, TrainingShape, epoch_updates, training_updates
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import DivergedError
from mnist_cli.events import Step
from mnist_cli.models.networks import build_model, weights_sha256
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.training.loop import EpochPlan, Gradient, MicroBatchSums, RunningSums, Update, fit
from mnist_cli.training.optim import SGD, AdamW, Optimizer
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer
from mnist_cli.training.weight_average import WeightAverage
from tests.helpers.trainings import Configure

# What waits for a GPU: the values themselves are asked for, or are copied from the host's memory.
WAITS = (
    *("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"),
    *("nonzero", "tensor", "new_tensor", "equal", "allclose"),
)


class CountingWaits(TorchFunctionMode):
    """Counts the calls that wait for the device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        self.counts[name] += name in WAITS
        return func(*args, **(kwargs or {}))


class CountingReads(TorchDispatchMode):
    """Counts the operations in which PyTorch itself would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_local_scalar_dense" in str(func) or "nonzero" in str(func)
        return func(*args, **(kwargs or {}))


def plan_of(
    split: Split, size: int, reads: Callable[[int], bool] | None, lr: float = 0.01
) -> EpochPlan:
    return EpochPlan(
        epoch=1,
        first=0,
        training=TrainingShape(1, (EpochShape(len(split), size),)),
        micro_batch_size=512,
        learning_rate=lambda _update: 0.01,
        label_smoothing=0.1,
        clock=lambda: 0.0,
        reads=reads,
    )  # fmt: skip


def every_fifth_and_last(update: int) -> bool:
    return update % 5 == 0 or update == 12


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_what_is_read_rarely_is_the_same(
    kind: type[Optimizer], small: Configure, mnist: Dataset
) -> None:
    config = small(model="lenet", augment="elastic", members=2, ema=0.9, batch_size=17).resolve(200)
    samples = Split(*mnist.train[:200])
    found = []
    for reads in (None, every_fifth_and_last):
        model = build_model("lenet", members=2)
        average = WeightAverage(model, 0.9)
        optimizer = kind(model, momentum=0.9)
        plan = plan_of(samples, 17, reads)
        batches = training_updates(augmented(samples, config), config, plan.training, 0)
        sums = RunningSums()
        events = fit(model, optimizer, batches, plan, sums, pool=ThreadPool(), average=average)
        steps = {e.update: e for e in events if isinstance(e, Step)}
        found.append((steps, sums, weights_sha256(model.state_dict()),
                      weights_sha256(average.model.state_dict())))  # fmt: skip
    (each, sums, *digests), (some, late_sums, *late_digests) = found
    assert list(some) == [5, 10, 12]
    assert some == {update: each[update] for update in some}
    assert (sums, digests) == (late_sums, late_digests)
    assert sums.samples == 200


def test_an_epoch_waits_for_the_device_once_a_report(mnist: Dataset, small: Configure) -> None:
    config = small(model="quick", augment="elastic", members=2, ema=0.9, batch_size=100)
    config = config.resolve(1200)
    samples = Split(*mnist.train[:1200])  # fetched a thousand at a time, so again for update 11
    model = build_model("quick", members=2)
    optimizer, average = AdamW(model), WeightAverage(model, 0.9)
    plan = plan_of(samples, 100, every_fifth_and_last)
    batches = training_updates(augmented(samples, config), config, plan.training, 0)
    events = fit(model, optimizer, batches, plan, RunningSums(), pool=ThreadPool(), average=average)
    next(events)  # what happens once an epoch is over: 5 updates
    next(events)  # their progress
    with CountingWaits() as waits, CountingReads() as reads:
        rest = [event for event in events if isinstance(event, Step)]
    assert [event.update for event in rest] == [10, 12]
    assert {name: n for name, n in waits.counts.items() if n} == {"tolist": 2}
    assert reads.count == 0


def test_the_stand_in_counts_what_would_wait(few: Split) -> None:
    with CountingWaits() as waits, CountingReads() as reads:
        total = few.images[:3].float().sum()
        assert total.item() > 0
        assert bool(total > 0)
    assert waits.counts["item"] == waits.counts["__bool__"] == 1
    assert reads.count == 2


@pytest.mark.parametrize("kind", [SGD, AdamW])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_updates_after_one_that_diverged_change_nothing(
    where: str, kind: type[Optimizer], mnist: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = Split(*mnist.train[:100])
    real = Update.gradient_of
    calls = 0

    def spoiled(update: Update, part: slice) -> tuple[Gradient, MicroBatchSums]:
        nonlocal calls
        calls += 1
        gradient, sums = real(update, part)
        if calls == 4:
            (sums.totals if where == "loss" else gradient[0])[0] = torch.nan
        return gradient, sums

    def weights_after(updates: int, reads: Callable[[int], bool] | None) -> str:
        model = build_model("linear")
        loader = epoch_updates(samples, size=10, seed=0, epoch=1)
        batches = itertools.islice(loader, updates)
        plan = plan_of(samples, 10, reads)
        events = fit(model, kind(model), batches, plan, RunningSums(), pool=ThreadPool())
        if reads is None:
            list(events)
        else:
            with pytest.raises(DivergedError, match=f"the {where} of update 4 is n"):
                list(events)
        return weights_sha256(model.state_dict())

    good = weights_after(3, None)
    monkeypatch.setattr(Update, "gradient_of", spoiled)
    assert weights_after(10, lambda update: update == 10) == good
    assert calls == 10


def test_only_small_updates_on_one_gpu_are_read_rarely(
    small: Configure, mnist: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(model="linear", batch_size=50, log_interval=3, probe="noise", probe_every=7)
    config = replace(config, save_every=5).resolve(200)
    state = TrainingState(config, torch.device("cpu"))
    trainer = Trainer(config, state, Split(*mnist.train[:200]), pool=ThreadPool(), clock=float)
    assert trainer._reads(1) is None
    monkeypatch.setattr(Split, "device", torch.device("cuda"))
    reads = trainer._reads(1)  # of which update 4 is the last, and update 8 is that of the plan
    assert reads is not None
    assert [u for u in range(1, 13) if reads(u)] == [3, 4, 5, 6, 7, 8, 9, 10, 12]
    trainer.config = replace(config, micro_batch_size=49)
    assert trainer._reads(1) is None
