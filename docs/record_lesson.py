"""Record the page of `mnist-lesson` in a browser, as the animation of README.md.

    python docs/record_lesson.py

writes docs/figures/lesson.webp: batches of 16 beside batch mode, first with equal updates, then
with equal samples. It needs Chromium, and takes half a minute. A picture is taken after each
update, so the machine's speed does not matter.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from mnist_cli.data.datasets import load_dataset
from mnist_cli.output.lesson.page import render

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.browsing import ARGUMENTS, BROWSER  # noqa: E402 (after the path is set)

TARGET = ROOT / "docs" / "figures" / "lesson.webp"
WIDTH, HEIGHT = 1280, 800  # of the window
SHOWN_WIDTH, QUALITY = 960, 50
FRAME, REST = 140, 2500  # milliseconds: of an update, of the end of a part
UPDATES = 24  # of equal updates
EPOCHS, PIECES = 3, 8  # of equal samples, and pictures of an epoch


class Recorder:
    """Frames of the page's upper part, and how long each is shown."""

    def __init__(self, view: Page) -> None:
        self._view = view
        self._top = view.locator("#controls").bounding_box()["y"] - 12
        board = view.locator("#curves").bounding_box()
        self._height = board["y"] + board["height"] + 12 - self._top
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []

    def step(self, run: int | None, updates: int) -> None:
        """Let the worker make updates, wait until they are shown, and take a picture."""
        self._view.evaluate(
            """async (message) => {
                const shown = new Promise((done) => {
                    const check = (state) => { if (state.reason === "step") done(); };
                    lesson.on("state", check);
                });
                lesson.send({ type: "step", ...message });
                await shown;
                const drawn = new Promise((done) => lesson.on("plane", done));
                lesson.send({ type: "plane" });
                await drawn;
                await new Promise((done) => setTimeout(done, 100));
            }""",
            {"run": run, "updates": updates},
        )
        self.take()

    def take(self) -> None:
        """Take a picture."""
        clip = {"x": 0, "y": self._top, "width": WIDTH, "height": self._height}
        picture = self._view.screenshot(clip=clip, full_page=True)
        size = SHOWN_WIDTH, round(self._height * SHOWN_WIDTH / WIDTH)
        frame = Image.open(io.BytesIO(picture)).convert("RGB")
        self.frames.append(frame.resize(size, Image.Resampling.LANCZOS))
        self.durations.append(FRAME)

    def rest(self) -> None:
        """Show the last picture longer."""
        self.durations[-1] = REST


def record(view: Page) -> Recorder:
    """Train in both ways, with a picture after every step."""
    recorder = Recorder(view)
    recorder.take()
    for _ in range(UPDATES):
        recorder.step(run=None, updates=1)
    recorder.rest()
    view.click("#axis label:has([value=samples])")
    view.click("#reset")
    view.wait_for_timeout(500)
    each = 2000 // 16 // PIECES
    for _ in range(EPOCHS):
        for _ in range(PIECES):
            recorder.step(run=0, updates=each)
        recorder.step(run=1, updates=1)
    recorder.rest()
    return recorder


def main() -> None:
    """Record and write the animation."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "lesson.html"
        page.write_text(render(load_dataset("mnist")), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        view = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en")
        view.goto(page.as_uri())
        view.wait_for_timeout(1000)
        recorder = record(view)
        browser.close()
    first, *others = recorder.frames
    first.save(
        TARGET,
        save_all=True,
        append_images=others,
        duration=recorder.durations,
        loop=0,
        quality=QUALITY,
        method=6,
    )


if __name__ == "__main__":
    main()
