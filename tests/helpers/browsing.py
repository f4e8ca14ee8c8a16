"""Pages in a real browser, and what every page of this project has to hold."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.torture.amount import LONG

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
VIEWS = [(1280, "dark"), (390, "light"), *([(1280, "light"), (390, "dark")] if LONG else [])]


def started_browser() -> Iterator[Any]:
    """Yield a browser, for a fixture."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield found
        found.close()


class OpenPage:
    """A page that is open, and what it complained about or asked the network for."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.address = path.as_uri()
        self.context = browser.new_context(**context)
        self.view = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.view.on("console", lambda message: self.complaints.append(message.text))
        self.view.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.view.on("request", lambda request: self.requests.append(request.url))
        self.view.goto(self.address)

    def check(self, width: int, scheme: str) -> None:
        """Hold the page to its width and scheme, to silence, and to itself; then close it."""
        assert self.view.evaluate("document.documentElement.scrollWidth") <= width
        background = self.view.evaluate("getComputedStyle(document.body).backgroundColor")
        shades = [int(shade) for shade in re.findall(r"\d+", background)]
        assert (sum(shades) < 200) == (scheme == "dark")
        assert self.complaints == []
        assert self.requests == [self.address]
        self.context.close()


def check_self_contained(page: str) -> None:
    """Hold the source of a page to having no address to load anything from."""
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|{{|{%", page)
    assert set(re.findall(r"https?://[^\"'\s]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page
