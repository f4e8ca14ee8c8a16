"""The same training again, by the options of its checkpoint."""

import json
from pathlib import Path

import pytest

from tests.helpers.calling import Caller

TRAIN = "mnist-train --model linear --subset 640 --epochs 1 --threads 1 -q".split()
OTHER = "0" * 64


@pytest.fixture
def digest(call: Caller) -> str:
    """Train `first.pt`, and return the digest of its weights."""
    done = call(*TRAIN, "--lr", "0.01", "--seed", "3", "-o", "first.pt", "--json")
    found: str = json.loads(done.out.splitlines()[-1])["weights_sha256"]
    return found


def again(call: Caller, *options: str, config: str = "first.pt") -> tuple[int, str]:
    done = call("mnist-train", "--config", config, "-q", "-o", "again.pt", *options)
    return done.code, done.err


@pytest.mark.parametrize("length", [8, 64])
def test_the_options_of_a_checkpoint_give_its_weights(
    length: int, digest: str, call: Caller
) -> None:
    expected = ("--expect-weights", digest[:length].upper(), "--threads", "1")
    assert again(call, *expected) == (0, "")


def test_other_weights_end_with_5_and_the_reason(digest: str, call: Caller) -> None:
    expected = ("--expect-weights", digest)
    code, err = again(call, *expected, "--threads", "1", "--lr", "0.02", "--seed", "4")
    first, second = err.splitlines()
    assert code == 5
    assert first.startswith("error: the weights have the SHA-256 ")
    assert first.endswith(f", not {digest}")
    assert second == "what differs from then: lr 0.01, now 0.02; seed 3, now 4"


def test_another_number_of_threads_is_the_reason(digest: str, call: Caller) -> None:
    code, err = again(call, "--expect-weights", OTHER, "--threads", "2", "--batch-size", "640")
    assert code == 5
    assert "batch_size 64, now 640" in err
    assert "threads 1, now 2" in err


def test_an_expectation_that_was_never_right_is_told(digest: str, call: Caller) -> None:
    code, err = again(call, "--expect-weights", OTHER, "--threads", "1")
    assert code == 5
    assert f"the weights have the SHA-256 {digest}, not {OTHER}" in err
    assert "they are those of the checkpoint that --config names" in err


def test_without_a_checkpoint_the_error_says_what_weights_depend_on(call: Caller) -> None:
    done = call(*TRAIN, "-o", "first.pt", "--expect-weights", OTHER)
    assert done.code == 5
    assert "they depend on the options, and on mnist_cli " in done.err
    assert "threads 1" in done.err


@pytest.mark.parametrize("text", ["", "1234567", "x" * 64, "0" * 65])
def test_what_is_no_digest_is_refused_before_the_training(text: str, call: Caller) -> None:
    done = call(*TRAIN, "-o", "first.pt", f"--expect-weights={text}")
    assert (done.code, done.out) == (2, "")
    assert "is not a SHA-256: 64 hexadecimal digits" in done.err


def test_files_and_places_are_not_taken(digest: str, call: Caller, tmp_path: Path) -> None:
    done = call("mnist-train", "--config", "first.pt", "--show-config")
    assert "lr = 0.01" in done.out
    assert "# first.pt" in done.out
    assert 'output = "checkpoint.pt"' in done.out


def test_what_it_began_with_has_to_be_named(digest: str, call: Caller) -> None:
    done = call(*TRAIN, "--init", "first.pt", "-o", "second.pt")
    assert done.code == 0
    code, err = again(call, config="second.pt")
    assert code == 2
    assert "took the weights of another checkpoint; give it: --init CHECKPOINT" in err
    code, err = again(call, "--init", "first.pt", config="second.pt")
    assert (code, err) == (0, "")
