"""No output is also an input, or another output."""

import pytest

from tests.helpers.calling import Caller


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("mnist-eval page.html --report page.html", "--report page.html is what CHECKPOINT names"),
        ("mnist-eval page.html --plot link.svg", "--plot link.svg is what CHECKPOINT names"),
        ("mnist-train --config my.toml -o my.toml", "--output my.toml is what --config names"),
        ("mnist-train --config my.toml -o to-my", "--output to-my is what --config names"),
        (
            "mnist-compare --config my.toml --report page.html --plot link.svg",
            "--plot link.svg is what --report names",
        ),
    ],
)
def test_an_output_that_is_an_input_is_refused(command: str, words: str, call: Caller) -> None:
    (call.folder / "page.html").write_text("kept")
    (call.folder / "link.svg").symlink_to("page.html")
    (call.folder / "my.toml").write_text("seed = 3\n")
    (call.folder / "to-my").symlink_to("my.toml")
    done = call(*command.split())
    assert (done.code, words in done.err) == (2, True), done.err
    assert (call.folder / "page.html").read_text() == "kept"
    assert (call.folder / "my.toml").read_text() == "seed = 3\n"


def test_an_output_may_have_the_name_of_a_preset(call: Caller) -> None:
    done = call("mnist-train", "--config", "fast", "-o", "fast", "--show-config")
    assert (done.code, 'output = "fast"' in done.out) == (0, True)
