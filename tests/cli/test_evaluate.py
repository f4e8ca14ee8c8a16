"""`mnist-eval` as a process."""

import json
import re
from pathlib import Path

import pytest

from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import weights_sha256
from tests.cli.test_streams import in_terminal
from tests.helpers.calling import Caller
from tests.helpers.shell import Shell


def test_it_prints_the_test_accuracy_alone(call: Caller, trained: Path) -> None:
    done = call("mnist-eval", str(trained))
    assert re.fullmatch(r"Test Accuracy: 0\.\d{4}\n", done.out)
    assert (done.code, done.err) == (0, "")
    recorded = load_checkpoint(trained).history[-1]["test_accuracy"]
    assert done.out == f"Test Accuracy: {recorded:.4f}\n"


def test_json_has_the_keys_of_the_contract(call: Caller, trained: Path) -> None:
    event = json.loads(call("mnist-eval", "--json", str(trained)).out)
    keys = "event schema checkpoint split samples correct accuracy loss per_class confusion classes"
    assert set(event) == {*keys.split(), "weights_sha256", "seconds", "time"}
    assert (event["event"], event["schema"], event["split"]) == ("eval", 1, "test")
    assert event["samples"] == 1000
    assert event["accuracy"] == event["correct"] / 1000
    assert sum(event["confusion"][d][d] for d in range(10)) == event["correct"]
    assert [sum(row) for row in event["confusion"]] == [c["samples"] for c in event["per_class"]]
    assert set(event["per_class"][0]) == {"digit", "samples", "precision", "recall", "f1"}
    assert event["weights_sha256"] == weights_sha256(load_checkpoint(trained).weights)


def test_test_time_augmentation_stands_beside_the_plain_score(call: Caller, trained: Path) -> None:
    plain = json.loads(call("mnist-eval", str(trained), "--json").out)
    both = json.loads(call("mnist-eval", str(trained), "--json", "--tta").out)
    added = {key: both.pop(key) for key in ("tta_correct", "tta_accuracy", "tta_loss")}
    assert added["tta_accuracy"] == added["tta_correct"] / 1000 != plain["accuracy"]
    for event in (plain, both):
        del event["seconds"], event["time"]
    assert both == plain
    done = call("mnist-eval", str(trained), "--tta")
    assert done.out == (
        f"Test Accuracy: {plain['accuracy']:.4f}\n"
        f"Test Accuracy with test-time augmentation: {added['tta_accuracy']:.4f}\n"
    )
    between = str((added["tta_accuracy"] + plain["accuracy"]) / 2)
    done = call("mnist-eval", str(trained), "--tta", "--min-accuracy", between)
    assert done.code == (0 if plain["accuracy"] > added["tta_accuracy"] else 5), "the plain one"


def test_the_parts_of_the_training_set_are_the_ones_it_used(call: Caller, trained: Path) -> None:
    last = load_checkpoint(trained).history[-1]
    val = json.loads(call("mnist-eval", str(trained), "--split", "val", "--json").out)
    assert (val["samples"], val["accuracy"]) == (500, last["val_accuracy"])
    assert val["loss"] == pytest.approx(last["val_loss"], rel=1e-6)
    train = json.loads(call("mnist-eval", str(trained), "--split", "train", "--json").out)
    assert train["samples"] == 500
    assert train["accuracy"] > val["accuracy"], "it was fitted to these"


def test_the_batch_size_never_changes_the_result(call: Caller, trained: Path) -> None:
    runs = [
        json.loads(call("mnist-eval", str(trained), "--json", "--batch-size", size).out)
        for size in ("7", "1000")
    ]
    assert runs[0]["confusion"] == runs[1]["confusion"]
    assert runs[0]["loss"] == pytest.approx(runs[1]["loss"], rel=1e-6)


def test_an_accuracy_below_the_wanted_one_exits_with_5(call: Caller, trained: Path) -> None:
    done = call("mnist-eval", str(trained), "--min-accuracy", "0.9999")
    assert done.code == 5
    assert done.out.startswith("Test Accuracy: ")
    assert "is below --min-accuracy 0.9999" in done.err
    assert call("mnist-eval", str(trained), "--min-accuracy", "0.1").code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello\n", "is not a checkpoint"),
        (b"", "is empty"),
        (b"PK\x03\x04", "damaged or truncated"),
        (None, "No such file"),
    ],
)
def test_what_is_not_a_checkpoint_exits_with_4(
    content: bytes | None, message: str, call: Caller, files: list[str]
) -> None:
    if content is not None:
        (call.folder / "x.pt").write_bytes(content)
    for command in (("mnist-eval", "x.pt"), ("mnist-predict", "x.pt", files[0])):
        done = call(*command)
        assert (done.code, done.out) == (4, "")
        assert message in done.err
        assert len(done.err.splitlines()) == 1


def test_a_checkpoint_on_stdin(call: Caller, trained: Path) -> None:
    done = call("mnist-eval", "-", stdin=trained.read_bytes())
    assert done.code == 0
    done = call("mnist-eval", "-", stdin=trained.read_bytes()[:-50])
    assert done.code == 4
    assert "standard input is damaged" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--split no", "--split: 'no' is not one of test, train, val"),
        ("--batch-size 0", "--batch-size: must be at least 1"),
        ("--split train --dataset mnist", "leave --dataset mnist out"),
    ],
)
def test_usage_errors_exit_with_2(options: str, message: str, call: Caller, trained: Path) -> None:
    done = call("mnist-eval", str(trained), *options.split())
    assert done.code == 2
    assert message in done.err


def test_without_validation_samples_there_is_no_val_split(call: Caller) -> None:
    call.train("-q")
    done = call("mnist-eval", "checkpoint.pt", "--split", "val")
    assert done.code == 2
    assert "held no samples out" in done.err


def test_a_terminal_gets_a_table_too(shell: Shell, trained: Path) -> None:
    out, _ = in_terminal(shell, "mnist-eval", str(trained))
    assert out.count("\n") == 1, "stdout is a pipe here"
    done = shell.bash(
        f"script -qec 'mnist-eval {trained}' /dev/null",
        env={"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "80"},
    )
    assert "recall" in done.out
    matrix = re.sub(r"\x1b\[[\d;]*m", "", done.out).split("predicted class")[1].splitlines()
    rows = [line.split() for line in matrix if re.match(r"\s+\d  ", line)]
    digits = [[int(cell.replace(".", "0")) for cell in row] for row in rows[-10:]]
    assert [row[0] for row in digits] == list(range(10))
    assert sum(sum(row[1:]) for row in digits) == 1000
    assert "Test Accuracy: " in done.out
