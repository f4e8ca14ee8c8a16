"""`mnist-train` as a process that is interrupted and goes on."""

import os
import signal
import subprocess
from dataclasses import replace

import pytest

from tests.helpers.calling import Caller
from tests.helpers.shell import SMALL, Shell
from tests.helpers.trainings import objects


def test_a_resumed_run_writes_where_it_came_from(call: Caller) -> None:
    whole = objects(call.train("--json", "-o", "whole.pt").out)[-1]["weights_sha256"]
    call.train("-q", "--max-updates", "4", "-o", "part.pt")
    done = call("mnist-train", "--resume", "part.pt", "--json")  # no other option needed
    start, *_, end = objects(done.out)
    assert start["first_update"] == 4
    assert "going on after 4" in done.err
    assert (end["checkpoint"], end["update"]) == ("part.pt", 10)
    assert end["weights_sha256"] == whole


def test_a_resumed_run_refuses_another_seed(call: Caller) -> None:
    call.train("-q")
    done = call("mnist-train", "--resume", "checkpoint.pt", "--seed", "1", "--epochs", "2")
    assert done.code == 2
    assert "--seed 1 differs from the checkpoint's --seed 0" in done.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_ends_the_run_after_its_state_was_saved(
    number: signal.Signals, code: int, shell: Shell
) -> None:
    process = subprocess.Popen(
        ["mnist-train", "--epochs", "100000", "--log-interval", "1"],
        cwd=shell.folder,
        env=shell.env | {"MNIST_MODEL": "linear", "MNIST_SUBSET": "640"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    while "Step [3/10]" not in process.stderr.readline():
        pass
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert "interrupted at update" in err
    assert "mnist-train --resume checkpoint.pt" in err
    assert shell("mnist-eval", "checkpoint.pt").code == 0


def test_places_are_never_taken_from_a_checkpoint(call: Caller) -> None:
    call.train("-q", "--max-updates", "4", "--no-clobber", "-o", "first.pt")
    data = (call.folder / "first.pt").read_bytes()
    done = call("mnist-train", "-q", "--resume", "-", stdin=data)
    assert done.out == "checkpoint.pt\n"
    assert (call.folder / "first.pt").read_bytes() == data
    assert call("mnist-train", "-q", "--resume", "first.pt").out == "first.pt\n"


def test_the_data_folder_is_never_taken_from_a_checkpoint(call: Caller) -> None:
    call.train("-q", "--max-updates", "4")
    (call.folder / "data").symlink_to(call.env["MNIST_DATA_DIR"])
    env = {name: value for name, value in call.env.items() if name != "MNIST_DATA_DIR"}
    done = replace(call, env=env)("mnist-train", "--resume", "checkpoint.pt", "--json")
    assert objects(done.out)[0]["config"]["data_dir"] is None


def test_resume_auto_begins_where_there_is_no_output_and_goes_on_where_there_is(
    call: Caller,
) -> None:
    whole = objects(call.train("--json", "-o", "whole.pt").out)[-1]["weights_sha256"]
    auto = ["--resume", "auto", "--json", "-o", "part.pt"]
    first = objects(call.train(*auto, "--max-updates", "4").out)
    second = objects(call.train(*auto).out)
    assert [run[0]["first_update"] for run in (first, second)] == [0, 4]
    assert "resumed" not in [event["event"] for event in first]
    assert (second[-1]["update"], second[-1]["weights_sha256"]) == (10, whole)
    third = call.train(*auto)  # once more, as a launcher might
    assert (third.code, objects(third.out)[-1]["weights_sha256"]) == (0, whole)
    assert "Nothing is left to train" in third.err


def test_resume_auto_does_not_start_over_a_damaged_output(call: Caller) -> None:
    (call.folder / "part.pt").write_bytes(b"damaged")
    done = call.train("--resume", "auto", "-o", "part.pt")
    assert done.code == 4
    assert (call.folder / "part.pt").read_bytes() == b"damaged"


def test_resume_auto_needs_a_file_to_go_on_with(call: Caller) -> None:
    done = call.train("--resume", "auto", "-o", "-")
    assert (done.code, done.out) == (2, "")
    assert (
        done.err
        == "error: --resume auto goes on with the file that --output names, and that is -\n"
    )


def test_the_config_and_the_checkpoint_cannot_both_come_from_standard_input(shell: Shell) -> None:
    done = shell.bash("echo 'epochs = 3' | mnist-train --config - --resume -")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --config - and --resume - both want standard input")


@pytest.mark.parametrize("other", ["config", "resume"])
def test_a_teacher_on_standard_input_is_the_only_one_there(other: str, shell: Shell) -> None:
    shell.bash("mnist-train -q -o a.pt; echo 'epochs = 2' > c.toml")
    given = {"config": "c.toml", "resume": "a.pt"}[other]
    done = shell.bash(f"cat {given} | mnist-train --{other} - --teacher - -o b.pt")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: --{other} - and --teacher - both want standard input; use a file\n"


def test_an_ensemble_begins_with_the_members_of_another(call: Caller) -> None:
    call.train("-q", "--members", "2", "-o", "two.pt")
    begun = objects(call.train("--init", "two.pt", "--json").out)
    assert begun[0]["config"]["members"] == 2


def test_a_training_begins_with_the_weights_and_the_network_of_a_checkpoint(call: Caller) -> None:
    first = objects(call.train("--json", "--model", "linear", "-o", "first.pt").out)[-1]
    env = {name: value for name, value in SMALL.items() if name != "MNIST_MODEL"}
    options = ("--init", "first.pt", "--lr", "0", "--json", "-q")
    begun = objects(call("mnist-train", *options, env=env).out)
    assert begun[0]["config"]["model"] == "linear"
    assert begun[0]["config"]["init"] == first["weights_sha256"] == begun[-1]["weights_sha256"]
    shown = call("mnist-train", "--init", "first.pt", "--show-config", env=env).out
    assert '"linear"' in shown
    assert "# checkpoint first.pt" in shown
    other = call.train("--init", "first.pt", "--model", "mlp")
    assert other.code == 2
    assert "--model mlp differs from the linear of --init first.pt" in other.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--init a.pt --resume a.pt", "--init contradicts --resume 'a.pt'"),
        ("--init a.pt -o a.pt", "--output a.pt is what --init names"),
        ("--teacher a.pt -o a.pt", "--output a.pt is what --teacher names"),
        ("--teacher a.pt --log-file a.pt", "--log-file a.pt is what --teacher names"),
        ("--init -", "--init - : the weights are read more than once; name a file"),
        ("--init fifo", "--init fifo : the weights are read more than once; name a file"),
    ],
)
def test_init_is_not_combined_with_another_origin_or_its_own_output(
    options: str, message: str, call: Caller
) -> None:
    call.train("-q", "-o", "a.pt")
    before = (call.folder / "a.pt").read_bytes()
    if "fifo" in options:
        os.mkfifo(call.folder / "fifo")
    done = call.train(*options.split())
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert (call.folder / "a.pt").read_bytes() == before


def test_resume_auto_takes_init_to_begin_with_and_then_goes_on(call: Caller) -> None:
    call.train("-q", "-o", "first.pt", "--seed", "7")
    auto = ("--resume", "auto", "--init", "first.pt", "--json")
    whole = objects(call.train(*auto, "-o", "whole.pt").out)[-1]["weights_sha256"]
    call.train(*auto, "-o", "part.pt", "--max-updates", "4")
    (call.folder / "first.pt").unlink()
    second = objects(call.train(*auto, "-o", "part.pt").out)
    assert second[0]["first_update"] == 4
    assert second[-1]["weights_sha256"] == whole


def test_resume_auto_does_not_go_on_from_other_weights_than_init_names(call: Caller) -> None:
    call.train("-q", "-o", "first.pt", "--seed", "7")
    call.train("-q", "-o", "other.pt", "--seed", "8")
    call.train("-q", "-o", "random.pt", "--max-updates", "2")
    call.train("-q", "-o", "begun.pt", "--max-updates", "2", "--init", "first.pt")
    for output, init in (("random.pt", "first.pt"), ("begun.pt", "other.pt")):
        done = call.train("--resume", "auto", "--init", init, "-o", output)
        assert (done.code, done.out) == (2, "")
        assert f"--init {init} has other weights than the training in {output}" in done.err
