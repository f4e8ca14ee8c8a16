"""Whole trainings, in process: what is exact, and what stops them."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mnist_cli.config.registry import OPTIMIZERS
from mnist_cli.data.batches import epoch_updates
from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.splits import Split, train_val_split
from mnist_cli.errors import DivergedError, OutputError, ThresholdNotMetError, UsageError
from mnist_cli.events import End, Epoch, Progress, Start, Step
from mnist_cli.models.checkpoint import decode, load_checkpoint
from mnist_cli.models.networks import build_model
from mnist_cli.training.loop import Gradient, MicroBatchSums, Update
from mnist_cli.training.state import TrainingState
from mnist_cli.training.train import train
from tests.helpers.idx_files import write_qmnist
from tests.helpers.trainings import Configure, end_of, steps


def test_events_come_in_order_and_agree(small: Configure) -> None:
    events = [e for e in train(small(val_size=100)) if not isinstance(e, Progress)]
    kinds = "".join(type(e).__name__[:2] for e in events)
    assert kinds == "St" + "St" * 4 + "Ep" + "St" * 4 + "Ep" + "En"
    start, end = events[0], events[-1]
    assert isinstance(start, Start)
    assert isinstance(end, End)
    assert (start.samples, start.batch_size, start.updates_per_epoch) == (200, 50, 4)
    assert start.updates == end.update == 8
    assert [(s.epoch, s.step, s.update, s.samples_seen) for s in steps(events)] == [
        (1 + u // 4, 1 + u % 4, u + 1, 50 * (u + 1)) for u in range(8)
    ]
    epochs = [e for e in events if isinstance(e, Epoch)]
    first = sum(step.loss for step in steps(events)[:4]) / 4
    assert epochs[0].train_loss == pytest.approx(first)
    assert epochs[0].val_accuracy is not None
    assert end.test_accuracy == epochs[-1].test_accuracy
    assert end.samples_seen == 400
    assert [e.seconds for e in events] == sorted(e.seconds for e in events)


@pytest.mark.parametrize("micro_batch_size", [512, 7])
def test_a_growing_batch_takes_the_samples_of_each_epochs_order_in_larger_parts(
    micro_batch_size: int, small: Configure
) -> None:
    """The losses are those of plain PyTorch in float64 on batches of 50, 100 and 200."""
    config = small(
        model="linear",
        batch_schedule="50:200",
        micro_batch_size=micro_batch_size,
        **{"epochs": 3, "optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "schedule": "step"},
    )
    events = list(train(config))
    data = load_dataset(config.dataset, config.data_dir)
    split, _ = train_val_split(data.train, val_size=0, subset=200, seed=0)
    model = build_model("linear").double()
    losses = []
    for epoch, size in enumerate((50, 100, 200), start=1):
        for images, labels in epoch_updates(split, size=size, seed=0, epoch=epoch):
            loss = F.cross_entropy(model(images), labels.long())
            gradients = torch.autograd.grad(loss, [*model.parameters()])
            lr = 0.1 / 2 ** int((len(losses) + 0.5) / 7 * 5)
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.data -= lr * gradient
            losses.append(float(loss.detach()))
    assert [step.loss for step in steps(events)] == pytest.approx(losses, rel=1e-5)
    assert [
        (s.epoch, s.step, s.updates_per_epoch, s.update, s.samples_seen) for s in steps(events)
    ] == [
        *((1, 1, 4, 1, 50), (1, 2, 4, 2, 100), (1, 3, 4, 3, 150), (1, 4, 4, 4, 200)),
        *((2, 1, 2, 5, 300), (2, 2, 2, 6, 400), (3, 1, 1, 7, 600)),
    ]
    start, end = events[0], events[-1]
    assert isinstance(start, Start)
    assert isinstance(end, End)
    assert (start.batch_size, start.updates_per_epoch, start.samples_per_epoch) == (50, 4, 200)
    assert (start.updates, start.planned_updates, start.end_samples) == (7, 7, 600)
    assert [e.batch_size for e in events if isinstance(e, Epoch)] == [50, 100, 200]
    assert (end.epoch, end.update, end.samples_seen) == (3, 7, 600)
    progress = [(e.epoch, e.epoch_share) for e in events if isinstance(e, Progress) and e.update]
    assert progress == [*((1, 0.25), (1, 0.5), (1, 0.75), (1, 1.0), (2, 0.5), (2, 1.0), (3, 1.0))]


def test_a_growing_batch_cut_short_ends_where_it_is_told_to(small: Configure) -> None:
    events = list(train(small(model="linear", batch_schedule="50:200", epochs=3, max_updates=5)))
    start = events[0]
    assert isinstance(start, Start)
    assert (start.updates, start.planned_updates, start.end_samples) == (5, 7, 300)
    with pytest.raises(UsageError, match="256 is more than the 200 training samples"):
        end_of(small(batch_size=None, batch_schedule="64:256", epochs=3))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_same_seed_gives_the_same_weights(model: str, small: Configure) -> None:
    torch.manual_seed(1)
    first = end_of(small(model=model)).weights_sha256
    torch.manual_seed(2)
    assert end_of(small(model=model)).weights_sha256 == first
    assert end_of(small(model=model, seed=1)).weights_sha256 != first


def test_sorting_by_class_trains_as_on_samples_that_lie_sorted(
    small: Configure, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"model": "linear", "shuffle": False, "subset": None}
    config = small(**options)
    dataset = load_dataset(config.dataset, config.data_dir)
    train_split = Split(*dataset.train[:300])
    in_order = sorted(range(300), key=lambda index: int(train_split.labels[index]))
    digests = []
    for name, split in (
        ("mixed", train_split),
        ("sorted", Split(*train_split[torch.tensor(in_order)])),
    ):
        write_qmnist(tmp_path / name / "QMNIST" / "raw", split, dataset.test)
        changes = {"data_dir": str(tmp_path / name), "sort_by_class": name == "mixed"}
        digests.append(end_of(small(**options, **changes)).weights_sha256)
    assert digests[0] == digests[1]


def test_without_shuffling_batches_of_sorted_samples_have_one_class(few: Split) -> None:
    split = few.sorted_by_class()
    batches = list(epoch_updates(split, size=5, seed=0, epoch=1, shuffle=False))
    assert sum(len(labels.unique()) == 1 for _, labels in batches) >= len(batches) - 9
    assert split.labels.bincount().equal(few.labels.bincount())
    assert few.sorted_by_class().images[:3].equal(few.images[few.labels == 0][:3]), "as they came"


@pytest.mark.slow
def test_batch_mode_has_one_trajectory_whatever_the_micro_batch_size(small: Configure) -> None:
    def losses(micro: int) -> list[float]:
        config = small(mode="batch", model="lenet", epochs=4, micro_batch_size=micro)
        return [step.loss for step in steps(list(train(config)))]

    whole = losses(200)
    assert len(whole) == 4
    for micro in (64, 7):
        assert losses(micro) == pytest.approx(whole, rel=1e-4)  # float32, four updates on


def test_budgets_stop_in_good_order(small: Configure) -> None:
    end = end_of(small(max_updates=3))
    assert (end.reason, end.update, end.samples_seen) == ("max-updates", 3, 150)
    assert end.test_accuracy is not None
    assert load_checkpoint(str(end.checkpoint)).position.update == 3
    end = end_of(small(epochs=1000, max_seconds=0.3))
    assert end.reason == "max-seconds"
    assert 0.3 <= end.seconds < 5
    assert end_of(small(max_updates=100)).reason == "completed"


def test_a_reached_accuracy_ends_the_training(small: Configure) -> None:
    end = end_of(small(epochs=50, val_size=500, until_accuracy=0.5))
    assert end.reason == "until-accuracy"
    assert end.epoch < 50


def test_a_signal_after_the_accuracy_was_reached_does_not_interrupt(small: Configure) -> None:
    events = []
    for event in train(small(epochs=50, val_size=500, until_accuracy=0.5)):
        events.append(event)
        if isinstance(event, Epoch) and (event.val_accuracy or 0) >= 0.5:
            signal.raise_signal(signal.SIGTERM)
    assert isinstance(events[-1], End)
    assert events[-1].reason == "until-accuracy"


def test_an_accuracy_that_is_never_reached_is_an_error_after_the_end(small: Configure) -> None:
    events = []
    with pytest.raises(ThresholdNotMetError, match=r"below --until-accuracy 0\.999"):
        for event in train(small(val_size=500, until_accuracy=0.999)):
            events.append(event)
    end = events[-1]
    assert isinstance(end, End)
    assert end.reason == "completed"
    assert end.checkpoint


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_divergence_names_the_option_that_causes_it(small: Configure, optimizer: str) -> None:
    for options, remedy in (
        ({"lr": 1e30}, "use a smaller --lr"),
        ({"weight_decay": 1e30}, "a weight decay of 1e.30; use a smaller --weight-decay"),
    ):
        with pytest.raises(DivergedError, match=remedy):
            end_of(small(model="mlp", optimizer=optimizer, **options))


def test_divergence_keeps_the_last_good_checkpoint(small: Configure) -> None:
    good = end_of(small(model="mlp"))
    before = Path(str(good.checkpoint)).read_bytes()
    events = []
    with pytest.raises(DivergedError, match="use a smaller --lr"):
        for event in train(small(model="mlp", optimizer="sgd", lr=1e30)):
            events.append(event)
    end = events[-1]
    assert isinstance(end, End)
    assert (end.reason, end.checkpoint, end.weights_sha256) == ("diverged", None, None)
    assert Path(str(good.checkpoint)).read_bytes() == before


def test_a_gradient_that_is_not_finite_stops_the_training_at_that_update(
    small: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a finite loss: the third update's gradient overflows."""
    real = Update.gradient_of

    def gradient_of(self: Update, micro_batch: slice) -> tuple[Gradient, MicroBatchSums]:
        gradient, sums = real(self, micro_batch)
        seen.append(micro_batch)
        if len(seen) == 6:
            gradient[-1][3] = float("inf")
        return gradient, sums

    seen: list[slice] = []
    monkeypatch.setattr(Update, "gradient_of", gradient_of)
    config = small(model="mlp", optimizer="sgd", schedule="constant", lr=0.05)
    events = []
    with pytest.raises(DivergedError) as raised:
        for event in train(config):
            events.append(event)
    first, second = str(raised.value).splitlines()
    assert first.startswith("training diverged: the gradient of update 6 is not finite at a ")
    assert "learning rate of 0.05" in first
    assert second == f"the last good checkpoint, of update 4, is kept in {config.output}"
    assert steps(events)[-1].update == 5
    assert load_checkpoint(config.output).position.update == 4


def test_an_optimizer_that_overflows_is_divergence(small: Configure) -> None:
    """AdamW's squares do long before its weights: such a state could not be loaded again."""
    state = TrainingState(small(model="linear").resolve(60_000), torch.device("cpu"))
    state.check_finite()
    gradient = [torch.full_like(p, 1e30) for p in state.model.parameters()]  # squares: 1e60
    state.optimizer.step(gradient, 0.01)
    assert all(bool(p.isfinite().all()) for p in state.model.parameters())
    with pytest.raises(DivergedError, match="a value of the optimizer's is not finite"):
        state.check_finite()


@pytest.mark.parametrize("options", [{"mode": "batch", "epochs": 1}, {"save_every": 1}], ids=str)
def test_weights_that_overflow_are_divergence_and_never_saved(
    options: dict[str, Any], small: Configure
) -> None:
    config = small(model="mlp", optimizer="sgd", lr=1e39, **options)
    with pytest.raises(DivergedError, match="a weight is not finite"):
        list(train(config))
    assert not Path(config.output).exists()


def test_a_batch_larger_than_the_training_set_is_refused(small: Configure) -> None:
    with pytest.raises(UsageError, match="--batch-size 201 is more than the 200"):
        list(train(small(batch_size=201)))


def test_standard_output_gets_only_the_last_checkpoint(
    small: Configure, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    end_of(small(model="linear", output="-", save_every=3))
    data = capsysbinary.readouterr().out
    assert decode(data, "-").position.update == 8
    assert data.count(b"PK\5\6") == 1  # the end of a ZIP archive


def test_no_clobber_keeps_what_is_there(small: Configure) -> None:
    config = small(model="linear", no_clobber=True)
    end_of(config)
    with pytest.raises(OutputError, match="exists, and --no-clobber keeps it"):
        list(train(config))


def test_an_unwritable_output_is_found_before_the_training(small: Configure) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        next(train(small(output="/proc/none/checkpoint.pt")))
    with pytest.raises(OutputError, match="is a folder"):
        next(train(small(output="/proc")))
    with pytest.raises(OutputError, match="is not the name of a file"):
        next(train(small(output="new/")))


def test_time_that_others_take_is_not_training(small: Configure) -> None:
    for event in train(small(model="linear", epochs=1)):
        if isinstance(event, Step):
            time.sleep(0.2)
    assert isinstance(event, End)
    assert event.seconds > 0.8  # four updates
    assert event.train_seconds < 0.8


def test_the_seed_of_the_order_changes_the_order_alone(small: Configure) -> None:
    def digest(**options: Any) -> str | None:
        return end_of(small(model="mlp", **options)).weights_sha256

    assert digest(order_seed=0) == digest()
    assert digest(order_seed=1) != digest()
    # In batch mode there is no order, and what is left of the seed is the same.
    assert digest(mode="batch", order_seed=1) == digest(mode="batch")
