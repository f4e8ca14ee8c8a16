"""Pages: each is told when it is written, and `--open` shows it in a browser."""

import webbrowser
from pathlib import Path

import pytest

from tests.helpers.calling import Caller


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that a stand-in of the browser opens; it has none that ends in `x`."""
    addresses: list[str] = []

    def note(address: str) -> bool:
        addresses.append(address)
        return not address.endswith("x.html")

    monkeypatch.setattr(webbrowser, "open", note)
    return addresses


@pytest.mark.parametrize("page", ["page.html", "x.html"])
def test_a_page_is_told_and_opened(
    page: str, opened: list[str], call: Caller, trained: Path
) -> None:
    for command in (
        ("mnist-eval", str(trained), "--report", page),
        ("mnist-export", str(trained), page),
        ("mnist-compare", "--report", page, "--batch-sizes", "full", "--seeds", "1"),
    ):
        small = {"MNIST_SUBSET": "100", "MNIST_MODEL": "linear"}
        done = call(*command, "--open", env=small)
        assert done.code == 0, done.err
        assert f"Wrote {page}" in done.err
        has_browser = page == "page.html"
        assert (f"no browser could be started; open {page} yourself" in done.err) != has_browser
    assert opened == [(call.folder / page).as_uri()] * 3


@pytest.mark.parametrize(
    "command", ["mnist-eval C", "mnist-eval C --report -", "mnist-compare", "mnist-export C x.onnx"]
)
def test_open_needs_a_page_in_a_file(
    command: str, opened: list[str], call: Caller, trained: Path
) -> None:
    done = call(*command.replace("C", str(trained)).split(), "--open")
    assert (done.code, done.out) == (2, "")
    assert "--open shows a page in a browser: name one with" in done.err
    assert not opened
