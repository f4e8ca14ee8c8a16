"""The lesson's page in a real browser: what it shows, its address, its languages, its tour."""

import base64
import json
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli.data.splits import Dataset
from mnist_cli.errors import UsageError
from mnist_cli.output.lesson import page
from mnist_cli.output.lesson.page import choose_samples, render
from tests.helpers.browsing import OpenPage, check_self_contained

pytestmark = pytest.mark.slow

# What the steps are said to have measured; any numbers serve here.
NUMBERS: dict[str, dict[str, Any]] = {
    "update": {
        "batch_size": 64,
        "updates": 938,
        "batch_updates": 1,
        "first_loss": 2.3,
        "last_loss": 0.3,
    },
    "steady": {"small": 16, "small_rose": 14, "monitored": 36, "batch_rose": 0},
    "more": {
        **{"epochs": 5, "small": 64, "small_updates": 4690, "small_accuracy": 0.91},
        **{"batch_updates": 5, "batch_accuracy": 0.7},
    },
    "rate": {
        "largest_1": 0.02,
        "largest_16": 0.2,
        "largest_64": 0.5,
        "best_1": 0.005,
        "accuracy_1": 0.94,
    },
    "axes": {
        **{
            "target": 0.8,
            "small": 64,
            "small_updates": 15,
            "batch_updates": 8,
            "small_samples": 947,
        },
        **{"batch_samples": 440000, "small_seconds": 0.05, "batch_seconds": 5.3},
    },
    "sorted": {"sorted_accuracy": 0.2, "shuffled_accuracy": 0.9},
    "large": {"target": 0.93, "sizes": [4, 20000], "updates": [2224, 70], "critical": 124},
}
MEASURED = {
    "steps": {
        name: {"commands": [f"mnist-compare --config {name}"], "samples": 60000, **numbers}
        for name, numbers in NUMBERS.items()
    }
}


@pytest.fixture(scope="module")
def page_file(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lesson") / "lesson.html"
    path.write_text(render(mnist, measured=MEASURED))
    return path


class Lesson(OpenPage):
    """The page, with what a teacher does on it."""

    def __init__(self, browser: Any, path: Path, *args: Any, **device: Any) -> None:
        super().__init__(browser, path, *args, **device)
        self.wait("!lesson.state().isStale")

    def go(self, fragment: str) -> None:
        """Open the page at a state."""
        self.view.goto("about:blank")
        self.view.goto(self.address + fragment)
        self.wait("!lesson.state().isStale")

    def close(self) -> None:
        """Hold the page to silence and to itself and its worker, which it makes, and close it."""
        others = {found.partition("#")[0] for found in self.requests} - {"about:blank"}
        assert {found for found in others if not found.startswith("blob:null/")} == {self.address}
        self.requests[:] = [self.address]
        super().close()

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true in the page."""
        self.view.evaluate(
            """([expression, milliseconds]) => new Promise((done, failed) => {
              const start = performance.now();
              const look = () => {
                if (check()) done();
                else if (performance.now() > start + milliseconds) failed(Error(expression));
                else setTimeout(look, 50);
              };
              const check = CHECK;
              look();
            })""".replace("CHECK", f"() => window.lesson && ({expression})"),
            [expression, 1000 * seconds],
        )

    def read(self, expression: str) -> Any:
        return json.loads(self.view.evaluate(f"JSON.stringify({expression})"))

    def found(self) -> str:
        """Return the answer of a step."""
        return str(self.view.locator("#found").inner_text()).replace("\N{NO-BREAK SPACE}", " ")

    def click(self, name: str) -> None:
        self.view.get_by_role("button", name=name, exact=True).click()

    def runs(self) -> list[dict[str, Any]]:
        """Return each run's options, counters and curves."""
        found = self.read(
            "lesson.state().runs.map((run) => ({...run, weights: null, indices: [...run.indices]}))"
        )
        assert isinstance(found, list)
        return found

    def step(self, name: str) -> list[dict[str, Any]]:
        """Go to a step of the tour, ask for its answer, and return the runs then."""
        number = [*NUMBERS].index(name) + 1
        self.view.evaluate(f"goTo({number})")
        self.click("Show the answer")
        self.view.locator("#found").wait_for(timeout=120_000)
        self.wait("!lesson.state().playing")
        return self.runs()


UPDATE, SAMPLES, SECONDS, LOSS, ACCURACY = range(5)


def rises(run: dict[str, Any]) -> int:
    """Count the updates after which the loss on all samples was higher than before."""
    losses = [point[LOSS] for point in run["full"]]
    return sum(after > before for before, after in pairwise(losses))


@pytest.fixture
def lesson(browser: Any, page_file: Path) -> Iterator[Lesson]:
    opened = Lesson(browser, page_file)
    yield opened
    opened.close()


# The page as a file.


def test_a_page_has_no_address_to_load_anything_from(page_file: Path) -> None:
    text = page_file.read_text()
    check_self_contained(text)
    assert "worker-src blob:" in text
    assert page_file.stat().st_size <= 3_000_000


def test_the_samples_are_the_first_of_each_class_in_equal_numbers(
    mnist: Dataset, page_file: Path
) -> None:
    chosen = choose_samples(mnist.train, 2000)
    assert chosen.labels.bincount().tolist() == [200] * 10
    assert torch.equal(chosen.labels[:5], mnist.train.labels[:5])
    for digit in range(10):
        first = mnist.train.images[mnist.train.labels == digit][:200]
        assert torch.equal(chosen.images[chosen.labels == digit], first)
    assert torch.equal(choose_samples(mnist.test, 10000).labels, mnist.test.labels)
    with pytest.raises(UsageError, match="10,001 samples requested"):
        choose_samples(mnist.test, 10001)
    packed = re.search(r'id="train">([^<]+)<', page_file.read_text())
    assert packed is not None
    raw = zlib.decompress(base64.b64decode(packed[1]))
    assert raw == chosen.images.numpy().tobytes() + chosen.labels.numpy().tobytes()


def test_every_text_is_there_in_every_language_and_used() -> None:
    folder = Path(page.__file__).parent
    texts = json.loads((folder / "texts.json").read_text())
    source = "".join(
        path.read_text() for path in folder.iterdir() if path.suffix in (".html", ".js")
    )
    for key, words in texts.items():
        assert words.keys() == {"en", "zh"}
        holes = [set(re.findall(r"{(\w+)}", text)) for text in words.values()]
        assert holes[0] == holes[1], key
        assert key in source or key.partition(".")[0] + "." in source, key
    for step in NUMBERS:
        for part in ("title", "question", "answer", "why", "measured"):
            assert f"step.{step}.{part}" in texts


# What it shows.


@pytest.mark.parametrize(("width", "scheme"), [(1920, "light"), (1280, "dark"), (390, "light")])
def test_it_fits_every_screen(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    lesson = Lesson(browser, page_file, width, scheme)
    view = lesson.view
    for fragment in ("", "#step=2", "#a=hidden,1,0.2&b=hidden,64,0.2&c=hidden,1,0.005&lang=zh"):
        lesson.go(fragment)
        view.locator("#update").click()
        lesson.wait("lesson.state().runs.every((run) => run.updates === 1)")
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        for button in view.locator("#controls button:visible").all():
            assert button.bounding_box()["height"] >= 40
    lesson.check(width, scheme)


def test_both_runs_go_on_equally_on_the_axis_that_is_chosen(lesson: Lesson) -> None:
    for axis, quantity in (("samples", "samples"), ("updates", "updates")):
        lesson.go(f"#axis={axis}&a=linear,50,0.05&b=linear,200,0.05&speed=0")
        lesson.click("Play")
        lesson.wait("lesson.state().runs[0].updates > 40")
        lesson.click("Pause")
        lesson.wait("!lesson.state().playing")
        a, b = (run[quantity] for run in lesson.runs())
        assert abs(a - b) <= {"samples": 200, "updates": 1}[quantity]
        assert a > 0
    view = lesson.view
    assert view.locator("#loss").get_attribute("aria-label").startswith("Loss against updates: A ")
    view.get_by_role("radio", name="samples").check(force=True)
    lesson.wait("document.getElementById('loss').ariaLabel.startsWith('Loss against samples seen')")


def test_one_update_is_told_whole(lesson: Lesson) -> None:
    view = lesson.view
    assert view.get_by_text("Press Play and watch").is_visible()
    lesson.click("One update")
    lesson.wait("lesson.state().plane !== null && lesson.state().runs.every((run) => run.cosine)")
    a, b = lesson.runs()
    assert (len(a["indices"]), len(b["indices"])) == (16, 2000)
    assert a["batchLoss"] == pytest.approx(2.302585, abs=1e-5)  # of zero weights: ln 10
    card = view.get_by_role("article", name="Run B")
    assert card.locator(".batch-loss").inner_text() == "2.3"
    assert card.locator(".updates").inner_text() == "1"
    assert card.locator(".samples").inner_text() == "2,000"
    assert card.locator(".degrees").inner_text() == "0°"  # it is the full gradient
    assert float(view.locator(".run .degrees").first.inner_text().rstrip("°")) > 5
    caption = view.locator("#path-caption").inner_text()
    assert "The network has 7,850 weights" in caption
    lesson.click("One epoch")
    lesson.wait("lesson.state().runs[0].updates === 125")
    lesson.click("Reset")
    lesson.wait("lesson.state().runs.every((run) => run.updates === 0 && run.full.length === 1)")


def test_a_drawing_is_read_by_both(lesson: Lesson) -> None:
    lesson.go("#a=linear,64,0.05&b=hidden,64,0.05")
    for _ in range(2):
        lesson.click("One epoch")
        lesson.wait("!lesson.state().playing && lesson.state().reason === 'epoch'")
    view = lesson.view
    view.locator("#field").scroll_into_view_if_needed()
    box = view.locator("#field").bounding_box()
    at = [
        (box["x"] + x * box["width"], box["y"] + y * box["height"])
        for x, y in [(0.5, 0.15), (0.5, 0.85)]
    ]
    view.mouse.move(*at[0])
    view.mouse.down()
    view.mouse.move(*at[1], steps=5)
    view.mouse.up()
    for letter in "AB":
        view.get_by_text(re.compile(f"{letter} reads: 1,")).wait_for()
    lesson.click("Clear")
    view.get_by_text("A has nothing to read yet").wait_for()


# The address.


def test_the_address_holds_the_settings_and_back_works(lesson: Lesson) -> None:
    view = lesson.view
    size = view.get_by_role("article", name="Run A").get_by_role("slider", name="Batch size")
    size.focus()
    size.press("ArrowRight")
    assert "a=linear,32,0.05,shuffle" in view.url
    view.get_by_role("article", name="Run A").get_by_role("checkbox", name="shuffle").uncheck()
    view.get_by_text("More", exact=True).click()
    lesson.click("Add a third run")
    assert "a=linear,32,0.05,in-order" in view.url
    assert "c=linear,64,0.05,shuffle" in view.url
    shared = view.url
    view.go_back()
    lesson.wait("lesson.state().settings.runs.length === 2 && !lesson.state().isStale")
    view.go_back()
    lesson.wait("lesson.state().settings.runs[0].shuffle && !lesson.state().isStale")
    assert lesson.runs()[0]["options"]["batchSize"] == 32
    lesson.go("#" + shared.partition("#")[2])
    assert [run["options"]["batchSize"] for run in lesson.runs()] == [32, 2000, 64]


@pytest.mark.parametrize(
    "fragment",
    ["#a=nothing,0,-1,x&seed=-3&axis=time&speed=7&step=9&lang=xx", "#%%%", "#a=linear,1e9,NaN"],
)
def test_an_address_that_makes_no_sense_gives_the_defaults(lesson: Lesson, fragment: str) -> None:
    lesson.go(fragment)
    assert lesson.read("({...lesson.state().settings, lang: 0})") == {
        **{"seed": 0, "axis": "updates", "sorted": False, "speed": 10, "step": 0, "lang": 0},
        "runs": [
            {"network": "linear", "batchSize": size, "lr": 0.05, "shuffle": True}
            for size in (16, 2000)
        ],
    }


def test_a_link_to_a_step_sets_it(lesson: Lesson) -> None:
    lesson.go("#step=6")
    assert lesson.read("lesson.state().settings.sorted")
    assert [run["options"]["shuffle"] for run in lesson.runs()] == [False, True]
    assert lesson.view.get_by_role("button", name="Run it").is_visible()


def test_keys_are_enough(lesson: Lesson) -> None:
    keyboard = lesson.view.keyboard
    keyboard.press("u")
    lesson.wait("lesson.state().runs[1].updates === 1")
    keyboard.press("Space")
    lesson.wait("lesson.state().playing && lesson.state().runs[0].updates > 3")
    keyboard.press("Space")
    lesson.wait("!lesson.state().playing")
    keyboard.press("t")
    assert lesson.view.get_by_role("heading", name="1. What is an update?").is_visible()


def test_the_browsers_language_comes_first_and_can_be_changed(
    browser: Any, page_file: Path
) -> None:
    lesson = Lesson(browser, page_file, locale="zh-CN")
    view = lesson.view
    assert view.locator("h1").inner_text().startswith("批量与小批量")
    assert view.evaluate("document.documentElement.lang") == "zh-CN"
    view.get_by_role("radio", name="EN").check(force=True)
    assert view.title() == "Batch and mini-batch, side by side"
    assert view.url.endswith("&lang=en")
    assert view.evaluate("document.documentElement.lang") == "en"
    lesson.close()


def test_it_answers_a_click_while_it_trains_at_full_speed(lesson: Lesson) -> None:
    lesson.go("#a=hidden,64,0.05&b=hidden,2000,0.05&axis=samples&speed=0")
    lesson.click("Play")
    lesson.wait("lesson.state().runs[0].updates > 30")
    milliseconds = lesson.view.evaluate(
        """new Promise((done) => {
          const start = performance.now();
          lesson.on("state", ({ playing }) => { if (!playing) done(performance.now() - start); });
          document.getElementById("play").click();
        })"""
    )
    print(f"paused after {milliseconds:.0f} ms")
    assert milliseconds < 1000  # 100 on a machine that has nothing else to do


# The seven steps: each claim, from the numbers of the page.


def test_step_1_an_update_is_one_step_after_some_images_or_all(lesson: Lesson) -> None:
    a, b = lesson.step("update")
    assert (a["updates"], b["updates"]) == (1, 1)
    assert (a["samples"], b["samples"]) == (16, 2000)
    assert b["full"][-1][LOSS] < b["full"][0][LOSS]
    found = lesson.found()
    assert found.startswith(
        "A looked at 16 images, B at 2,000. The loss on all images went from 2.3 to"
    )


def test_step_2_batch_steps_are_steadier(lesson: Lesson) -> None:
    a, b = lesson.step("steady")
    assert len(a["full"]) == len(b["full"]) == 101
    assert rises(a) / 100 >= 0.25
    assert rises(b) == 0
    assert lesson.found() == (f"With A, on {rises(a)} of 100 updates; with B, on 0.")
    assert "14 of the 36 updates looked at" in lesson.view.locator("#measured").inner_text()
    assert "mnist-compare --config steady" in lesson.view.locator("#commands").inner_text()


@pytest.mark.parametrize("step", range(1, 8))
def test_the_path_is_seen_whole_below_the_tour_on_a_projector(lesson: Lesson, step: int) -> None:
    lesson.view.set_viewport_size({"width": 1280, "height": 800})
    lesson.go(f"#step={step}")
    box = lesson.view.locator("#path").bounding_box()
    assert box
    assert box["y"] + box["height"] <= 800
    assert box["height"] >= 220


def test_step_3_small_batches_make_more_of_the_same_work(lesson: Lesson) -> None:
    a, b = lesson.step("more")
    assert a["samples"] == b["samples"] == 10000
    assert a["updates"] > 30 * b["updates"]
    assert a["full"][-1][ACCURACY] > b["full"][-1][ACCURACY] + 0.02


def test_step_4_a_small_batch_needs_a_small_rate(lesson: Lesson) -> None:
    a, b, c = lesson.step("rate")
    assert a["full"][-1][ACCURACY] < 0.3
    assert b["full"][-1][ACCURACY] > 0.6
    assert c["full"][-1][ACCURACY] > 0.6


def test_step_5_who_is_ahead_depends_on_the_axis(lesson: Lesson) -> None:
    lesson.step("axes")
    found = lesson.found()
    losses = re.findall(r"A (\S+), B (\S+)", found)
    updates, samples, _ = [(float(a), float(b)) for a, b in losses]
    assert updates[0] > updates[1]
    assert samples[0] < samples[1]
    assert re.search("after 10 updates: .*\nafter [0-9,]+ samples: ", found)


def test_step_6_order_matters_to_small_batches(lesson: Lesson) -> None:
    a, b = lesson.step("sorted")
    assert b["full"][-1][ACCURACY] > a["full"][-1][ACCURACY] + 0.2
    assert b["full"][-1][LOSS] < a["full"][-1][LOSS]


def test_step_7_beyond_some_size_more_images_save_no_updates(lesson: Lesson) -> None:
    runs = lesson.step("large")
    a, b, c = (next(point[UPDATE] for point in run["full"] if point[LOSS] <= 0.5) for run in runs)
    assert a > 4 * b
    assert abs(b - c) <= 0.35 * c
    assert lesson.found() == f"A needs {a} updates, B {b}, C {c}."


def test_changed_settings_are_told_and_can_be_restored(lesson: Lesson) -> None:
    lesson.go("#step=2&a=linear,64,0.05&b=linear,2000,0.05")
    view = lesson.view
    assert view.get_by_text("You have changed the settings.").is_visible()
    view.locator("#restore").click()
    assert lesson.runs()[0]["options"]["batchSize"] == 16
    assert not view.get_by_text("You have changed the settings.").is_visible()
