"""Tests of `mnist-lesson`: what it writes, prints and refuses."""

import json

import pytest

from mnist_cli.cli.lesson import OUTPUT
from tests.helpers.calling import Caller
from tests.helpers.shell import Shell


def test_a_page_is_written_and_told(call: Caller) -> None:
    done = call("mnist-lesson")
    assert (done.code, done.out) == (0, f"{OUTPUT}\n")
    assert done.err.startswith(f"Wrote {OUTPUT} (")
    assert (call.folder / OUTPUT).read_text().startswith("<!doctype html>")
    assert [path.name for path in call.folder.iterdir()] == [OUTPUT]


def test_json_tells_what_is_in_the_page(call: Caller) -> None:
    done = call("mnist-lesson", "a.html", "--json", "-q", "--samples", "500")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    page = (call.folder / "a.html").read_bytes()
    assert {k: v for k, v in told.items() if k not in ("seconds", "time", "schema")} == {
        "event": "lesson",
        "output": "a.html",
        "bytes": len(page),
        "dataset": "qmnist",
        "samples": 500,
        "test_samples": 1000,
    }


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_standard_output_gets_the_same_page_and_nothing_else(output: str, shell: Shell) -> None:
    done = shell("mnist-lesson", output)
    assert (done.code, done.err) == (0, "")
    assert shell("mnist-lesson", "a.html").code == 0
    assert (shell.folder / "a.html").read_text() == done.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--samples 99", 2, "--samples: must be at least 100, not 99"),
        ("--samples 9000", 2, "9,000 samples requested, but the data set has 8,000"),
        ("--dataset nist", 2, "'nist' is unknown; did you mean 'mnist'?"),
        ("-q --dataset fashion-mnist --data-dir a.html", 3, "put these files, or their .gz, in"),
        ("none/a.html", 7, "none/a.html"),
        ("folder/", 7, "OUTPUT 'folder/' is not the name of a file"),
        ("- --json", 2, "both want standard output"),
        ("- --open", 2, "--open shows a page in a browser: name one with OUTPUT, or add --serve"),
        ("a.html --no-clobber", 7, "a.html exists, and --no-clobber keeps it"),
        ("--port 80", 2, "--port says where --serve listens; add --serve"),
        ("--host 0.0.0.0", 2, "--host says where --serve listens; add --serve"),
        ("--serve --port 65536", 2, "--port: must be at most 65535, not 65536"),
        ("--serve --host 203.0.113.9", 2, "--host '203.0.113.9' is not an address of this"),
        ("a.html b.html", 2, "unexpected argument 'b.html': mnist-lesson [OUTPUT]"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing_behind(
    arguments: str, code: int, message: str, call: Caller
) -> None:
    (call.folder / "a.html").write_text("mine")
    done = call("mnist-lesson", *arguments.split())
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
    assert message in done.err
    assert len(done.err.splitlines()) <= 2
    assert [path.name for path in call.folder.iterdir()] == ["a.html"]
    assert (call.folder / "a.html").read_text() == "mine"
