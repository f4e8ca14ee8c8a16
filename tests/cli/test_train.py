"""`mnist-train` as a process: streams, exit codes, JSON Lines, plain lines, signals."""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from tests.helpers.calling import Caller
from tests.helpers.shell import SMALL, Shell
from tests.helpers.trainings import objects

LINE = re.compile(r"Epoch \[1/1\], Step \[\d+/10\], Loss: \d\.\d{4}")


def test_stdout_is_the_path_and_stderr_is_for_people(mnist_shell: Shell) -> None:
    done = mnist_shell.train("--log-interval", "5")
    assert (done.code, done.out) == (0, "checkpoint.pt\n")
    lines = done.err.splitlines()
    assert "640 samples → 10 updates an epoch, 10 in all" in lines[0]
    assert [line.split(",")[1] for line in lines[1:3]] == [" Step [5/10]", " Step [10/10]"]
    assert all(LINE.fullmatch(line) for line in lines[1:3])
    assert "Test Accuracy: " in lines[3]
    assert "Next: mnist-eval checkpoint.pt" in lines[-2]
    assert "mnist-export checkpoint.pt digit.html" in lines[-1]
    assert "\x1b" not in done.err, "no colour and no cursor movement outside a terminal"
    assert [path.name for path in mnist_shell.folder.iterdir()] == ["checkpoint.pt"]


def test_quiet_leaves_stderr_empty(shell: Shell) -> None:
    for name in ("-q", "--quiet"):
        done = shell.train(name)
        assert (done.code, done.out, done.err) == (0, "checkpoint.pt\n", "")


def test_json_lines_have_the_keys_of_the_contract(call: Caller) -> None:
    done = call.train("--json", "-q", "--log-interval", "4", "--val-size", "100")
    events = objects(done.out)
    assert [event["event"] for event in events] == ["start", "step", "step", "epoch", "end"]
    assert all(isinstance(event["seconds"], float) for event in events)
    start, step, _, epoch, end = events
    expected = {
        "start": "schema version mode samples batch_size updates_per_epoch updates parameters"
        " device world_size config threads first_update samples_seen samples_per_epoch"
        " planned_updates end_samples time",
        "step": "epoch step update samples_seen loss lr updates_per_epoch",
        "epoch": "epoch update samples_seen train_loss train_accuracy test_loss test_accuracy"
        " batch_size val_loss val_accuracy noise_scale_estimate noise_scale_estimate_error"
        " trace_estimate trace_estimate_error gradient_square_estimate"
        " gradient_square_estimate_error",
        "end": "reason checkpoint epoch update samples_seen test_accuracy train_seconds"
        " weights_sha256",
    }
    for event in (start, step, epoch, end):
        assert set(event) == {"event", "seconds", *expected[event["event"]].split()}
    assert start["schema"] == 1
    age = datetime.now(UTC) - datetime.fromisoformat(start["time"])
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert start["config"]["model"] == "linear"
    assert None not in (start["config"]["lr"], start["config"]["optimizer"])
    assert (end["reason"], end["checkpoint"]) == ("completed", "checkpoint.pt")


def test_updates_of_several_micro_batches_tell_the_noise_scale(call: Caller) -> None:
    options = ("--batch-size", "32", "--lr", "1e-6", "--json")
    (one,) = [e for e in objects(call.train(*options).out) if e["event"] == "epoch"]
    assert one["noise_scale_estimate"] is one["trace_estimate"] is None
    done = call.train(*options, "--micro-batch-size", "8")
    (epoch,) = [e for e in objects(done.out) if e["event"] == "epoch"]
    ratio = epoch["trace_estimate"] / epoch["gradient_square_estimate"]
    assert epoch["noise_scale_estimate"] == pytest.approx(ratio)
    scale, error = epoch["noise_scale_estimate"], epoch["noise_scale_estimate_error"]
    assert f"Noise Scale: {scale:,.0f} ± {error:,.0f}\n" in done.err
    assert "Noise Scale" not in call.train(*options).err


def test_without_validation_there_are_no_validation_keys(call: Caller) -> None:
    (epoch,) = [e for e in objects(call.train("--json").out) if e["event"] == "epoch"]
    assert not [key for key in epoch if key.startswith("val_")]


def test_batch_mode_tells_what_it_will_do_and_reports_every_update(call: Caller) -> None:
    done = call.train("--mode", "batch", "--epochs", "3", "--json")
    assert "640 samples → 1 update an epoch, 3 in all" in done.err
    assert "try --epochs 200" in done.err
    assert "try --config batch" in call.train("--mode", "batch", "--model", "lenet").err
    start, *rest = objects(done.out)
    assert (start["batch_size"], start["updates_per_epoch"], start["updates"]) == (640, 1, 3)
    assert [event["event"] for event in rest] == ["step", "epoch"] * 3 + ["end"]
    assert done.err.count("Step [1/1]") == 3


def test_a_growing_batch_tells_the_updates_of_each_epoch(call: Caller) -> None:
    done = call.train("--batch-schedule", "160:320", "--epochs", "2", "--log-interval", "2")
    assert "640 samples → 4 updates in the first epoch, 6 in all" in done.err
    shown = re.findall(r"Epoch \[(\d)/2\], Step \[(\d)/(\d)\]", done.err)
    assert shown == [("1", "2", "4"), ("1", "4", "4"), ("2", "2", "2")]
    assert "after 6 updates" in done.err
    cut = call.train("--batch-schedule", "160:320", "--epochs", "2", "--max-updates", "5")
    assert "after 5 of 6 updates" in cut.err


def test_full_batch_softmax_regression_has_its_known_trajectory(call: Caller) -> None:
    """From zero, gradient descent on a convex loss: ln 10, then down, however it is chunked."""
    fixed = "--model linear --mode batch --optimizer sgd --momentum 0 --weight-decay 0"
    fixed += " --schedule constant --lr 0.01 --epochs 6 --json -q --micro-batch-size"
    runs = []
    for micro in ("1000", "777", "8000"):
        out = call("mnist-train", *fixed.split(), micro).out
        runs.append([e["loss"] for e in objects(out) if e["event"] == "step"])
    assert runs[0][0] == pytest.approx(math.log(10), abs=1e-6)
    assert runs[0] == sorted(runs[0], reverse=True)
    assert len(runs[0]) == 6
    assert runs[1] == pytest.approx(runs[0], abs=1e-5)
    assert runs[2] == pytest.approx(runs[0], abs=1e-5)


def test_flag_then_environment_then_file(call: Caller) -> None:
    (call.folder / "my.toml").write_text("epochs = 3\nbatch_size = 320\nmodel = 'linear'\n")
    done = call(
        "mnist-train",
        *("--config", "my.toml", "--json", "-q", "--epochs", "1"),
        env={"MNIST_EPOCHS": "2", "MNIST_BATCH_SIZE": "64", "MNIST_SUBSET": "640"},
    )
    start = objects(done.out)[0]
    assert (start["config"]["epochs"], start["batch_size"]) == (1, 64)
    assert (start["config"]["model"], start["config"]["seed"]) == ("linear", 0)


def test_display_options_follow_the_same_precedence(call: Caller) -> None:
    (call.folder / "my.toml").write_text("quiet = true\n")
    assert call.train("--config", "my.toml").err == ""
    assert objects(call.train(env={"MNIST_JSON": "1"}).out)[0]["event"] == "start"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--batch-size 0", 2, "--batch-size: must be at least 1, not 0"),
        ("--batch-size 70000", 2, "--batch-size 70000 is more than the 640 training samples"),
        ("--mode batch --batch-size 64", 2, "--batch-size 64 contradicts --mode batch"),
        ("--config no-such-preset", 2, "no such preset"),
        ("--config no/such.toml", 2, "No such file"),
        ("--config " + "a" * 300, 2, "File name too long"),
        ("-o - --json", 2, "both want standard output"),
        ("--until-accuracy 0.9", 2, "add --val-size"),
        ("--subset 8001", 2, "8,000"),
        ("--val-size 8000", 2, "leaves none of the 8,000 samples"),
        pytest.param(
            *("--dataset kmnist --data-dir here", 3, "these files, or their .gz, in here/KMNIST/"),
            marks=pytest.mark.slow,
        ),
        ("--resume none.pt", 4, "none.pt: No such file"),
        ("--until-accuracy 1 --val-size 100", 5, "below --until-accuracy 1.0"),
        ("--optimizer sgd --lr 1e39 --epochs 3", 6, "training diverged: the loss of update"),
        ("-o no/such/folder.pt", 7, "cannot write no/such/folder.pt: No such file or directory"),
        ("-o /sys/checkpoint.pt", 7, "cannot write /sys/checkpoint.pt"),  # read-only even for root
        ("-o .", 7, "is a folder"),
        (
            "--optimizer sgd --lr 3e38 --batch-size 640 --schedule constant",
            6,
            "the test loss after update 1 is nan at a learning rate of 3e+38",
        ),
    ],
)
def test_an_error_is_a_line_or_two_with_its_own_exit_code(
    options: str, code: int, message: str, call: Caller
) -> None:
    done = call.train("-q", *options.split())
    assert message in done.err
    assert done.code == code
    assert len(done.err.splitlines()) <= 2
    assert "Traceback" not in done.err
    if code != 5:
        assert done.out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_an_error_of_usage(call: Caller) -> None:
    done = call.train("--device", "cuda")
    assert done.code == 2
    assert "no cuda device" in done.err


def test_a_damaged_data_file_is_an_error_of_data(call: Caller, mnist_dir: Path) -> None:
    raw = call.folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (mnist_dir / "MNIST" / "raw").iterdir():
        (raw / path.name).symlink_to(path)
    images = raw / "train-images-idx3-ubyte"
    data = images.read_bytes()
    images.unlink()
    images.write_bytes(data[:-100])
    done = call.train("--dataset", "mnist", "--data-dir", "data")
    assert done.code == 3
    assert "train-images-idx3-ubyte is truncated: it has 47,039,916 bytes" in done.err


def test_a_bug_shows_a_traceback_and_exits_with_1(shell: Shell) -> None:
    code = (
        "# forked\n"
        "import sys, mnist_cli.training.train as run\n"
        "def broken(*_): raise ZeroDivisionError('a bug')\n"
        "run.train = broken\n"
        "sys.argv = ['mnist-train', '-q']\n"
        "from mnist_cli.cli.train import main\n"
        "main()"
    )
    done = shell("python", "-c", code, env=SMALL)
    assert done.code == 1
    assert "Traceback" in done.err
    assert "a bug" in done.err


def test_python_m_has_the_same_commands(call: Caller) -> None:
    done = call("python", "-m", "mnist_cli", "train", "-q", env=SMALL)
    assert (done.code, done.out) == (0, "checkpoint.pt\n")
    for command in ("train", "eval", "predict", "compare", "export", "lesson", "doctor"):
        done = call("python", "-m", "mnist_cli", command, "--help")
        assert (done.code, f"python -m mnist_cli {command} " in done.out) == (0, True)


def test_an_empty_name_is_not_ignored(call: Caller) -> None:
    for option, code in (("--resume", 4), ("--config", 2), ("--output", 7)):
        done = call.train("-q", option, "")
        assert (done.code, len(done.err.splitlines())) == (code, 1)


def test_a_configuration_can_come_down_a_pipe(shell: Shell) -> None:
    done = shell.bash("echo 'epochs = 2' | mnist-train --config - -q --json | head -1", SMALL)
    assert json.loads(done.out)["config"]["epochs"] == 1  # the environment comes first
    done = shell.bash("echo 'seed = 5' | mnist-train --config - -q --json | head -1", SMALL)
    assert json.loads(done.out)["config"]["seed"] == 5


def test_a_flag_for_batch_mode_overrules_a_batch_size_below_it(call: Caller) -> None:
    done = call.train("--config", "fast", "--mode", "batch", "-q", "--json")
    assert objects(done.out)[0]["batch_size"] == 640


def test_divergence_in_the_last_update_is_valid_json(call: Caller) -> None:
    done = call.train(*"--mode batch --model mlp --optimizer sgd --lr 1e39 --json -q".split())
    assert done.code == 6
    assert [event["event"] for event in objects(done.out)] == ["start", "step", "end"]
    assert "NaN" not in done.out
