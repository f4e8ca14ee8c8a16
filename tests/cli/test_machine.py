"""Tests of a machine with too little memory, and of a working folder that was deleted."""

from pathlib import Path

import pytest
import torch

from mnist_cli.errors import CheckpointError, MnistError, lack_of_memory
from mnist_cli.models.checkpoint import load_checkpoint
from tests.helpers.calling import Caller
from tests.helpers.shell import Shell

PROGRAMS = [
    "mnist-train",
    "mnist-eval c.pt",
    "mnist-predict c.pt image.png",
    "mnist-compare",
    "mnist-export c.pt page.html",
    "python -m mnist_cli doctor",
    "python -m mnist_cli.cli.torchrun --nproc-per-node 2 -m mnist_cli train",
]
ALLOCATOR = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 150994944 bytes"


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_working_folder_that_was_deleted_is_an_error_in_one_line(
    program: str, shell: Shell
) -> None:
    done = shell.bash(f"mkdir gone && cd gone && rmdir ../gone && {program}")
    assert (done.code, done.out) == (7, "")
    assert done.err == "error: the working folder was deleted; change to another one\n"


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("-v 700000", "memory is limited to 683 MiB, and "),
        ("-n 6", "open files are limited to 6, "),
    ],
)
def test_a_limit_that_is_too_low_is_an_error_in_one_line(
    limit: str, message: str, program: str, shell: Shell
) -> None:
    done = shell.bash(f"ulimit {limit}; {program}")
    assert (done.code, done.out) == (7, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.count("\n") == 1


def test_a_variable_that_pytorch_refuses_is_an_error_in_one_line(shell: Shell) -> None:
    done = shell.bash("MALLOC_ARENA_MAX=1 TORCH_LOGS=nosuch mnist-export c.pt page.html")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: TORCH_LOGS='nosuch': PyTorch refuses it; correct it, or unset it\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(ALLOCATOR),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_is_an_error_in_one_line_in_whatever_form_it_comes(
    error: Exception, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        try:
            raise error
        except Exception as cause:  # libraries wrap it
            raise RuntimeError("a library cannot be used") from cause

    monkeypatch.setattr("mnist_cli.training.train.train", fail)
    done = call.train("-q")
    assert (done.code, done.out) == (7, "")
    assert done.err.startswith("error: too little memory; ")
    assert "--micro-batch-size" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("memory"), CheckpointError("c.pt: out of memory")])
def test_other_errors_are_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert lack_of_memory(error) is None


@pytest.mark.parametrize("place", ["torch.load", "mnist_cli.models.checkpoint.build_model"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(ALLOCATOR)])
def test_a_checkpoint_is_not_called_damaged_where_memory_lacks(
    place: str, error: Exception, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(place, fail)
    with pytest.raises(type(error)) as raised:
        load_checkpoint(trained)
    assert not isinstance(raised.value, MnistError)
    assert lack_of_memory(raised.value)
