"""Pages in a real browser, and what every page of this project has to hold."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.torture.amount import LONG

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
VIEWS = [(1280, "dark"), (390, "light"), *([(1280, "light"), (390, "dark")] if LONG else [])]


def started_browser() -> Iterator[Any]:
    """Yield a browser, for a fixture."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        found.new_context().new_page()  # takes longer than a test: they share it
        yield found
        found.close()


class OpenPage:
    """A page that is open, and what it complained about or asked the network for."""

    def __init__(
        self,
        browser: Any,
        path: Path,
        width: int = 1280,
        scheme: str = "light",
        motion: str = "no-preference",
        **device: Any,
    ) -> None:
        """Open a page in the tab that the tests share or, on another device, in one of its own."""
        self.address = path.as_uri()
        self.context = browser.new_context(**device) if device else None
        self.view = self.context.new_page() if self.context else browser.contexts[0].pages[0]
        self.view.set_viewport_size({"width": width, "height": 800})
        self.view.emulate_media(color_scheme=scheme, reduced_motion=motion)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.listeners: dict[str, Callable[[Any], None]] = {
            "console": lambda message: self.complaints.append(message.text),
            "pageerror": lambda error: self.complaints.append(str(error)),
            "request": lambda request: self.requests.append(request.url),
        }
        for event, listener in self.listeners.items():
            self.view.on(event, listener)
        self.view.goto(self.address)

    def close(self) -> None:
        """Hold the page to silence and to itself, and close it."""
        assert self.complaints == []
        assert self.requests == [self.address]
        for event, listener in self.listeners.items():
            self.view.remove_listener(event, listener)
        if self.context:
            self.context.close()

    def check(self, width: int, scheme: str) -> None:
        """Hold the page to its width and scheme, and close it."""
        assert self.view.evaluate("document.documentElement.scrollWidth") <= width
        background = self.view.evaluate("getComputedStyle(document.body).backgroundColor")
        shades = [int(shade) for shade in re.findall(r"\d+", background)]
        assert (sum(shades) < 200) == (scheme == "dark")
        self.close()


def check_self_contained(page: str) -> None:
    """Hold the source of a page to having no address to load anything from."""
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|{{|{%", page)
    assert set(re.findall(r"https?://[^\"'\s]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page
