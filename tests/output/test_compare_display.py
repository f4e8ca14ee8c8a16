"""A comparison on a terminal: the bar over all runs, and tables that are never too wide."""

import io
from dataclasses import asdict, replace

import pytest

from mnist_cli.comparison.events import CompareStart, Estimate, RunEnd, RunProgress, RunStart
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import CompareConfig, resolve
from mnist_cli.events import Event
from mnist_cli.output import compare_display
from mnist_cli.output.compare_display import Forecast

CONFIG = resolve(CompareConfig(batch_sizes="50,full", seeds=2, epochs=1, subset=100))
VARIANTS = [Variant(50), Variant("full")]
START = CompareStart(
    0.0, "1", 100, 0, 10, 7_850, 4, 1, "machine", "command", asdict(CONFIG), VARIANTS
)
ENDED = RunEnd(0.0, "a", 50, 0, 0.1, "completed", 2, 100, 1.0, 0.5, 0.9, 0.5, 0.9, 0, 0, None, None)


def run(number: int, size: int | str, began: float, took: float, *, before: bool) -> list[Event]:
    """Return the events of a run that took some seconds, with one progress halfway."""
    start = RunStart(began, "a", size, 0, 0.1, "arm", number, 4, 2, finished_before=before)
    half = RunProgress(began + took / 2, 1, 50, 1.0, 0.5)
    end = replace(ENDED, batch_size=size, seconds=began + took)
    return [start, end] if before else [start, half, end]


def test_the_time_left_is_that_of_earlier_runs_of_each_batch_size() -> None:
    forecast, left, shares = Forecast(), [], []
    forecast.add(START)
    runs = [(50, 10.0), ("full", 2.0), (50, 10.0), ("full", 2.0)]
    began = 0.0
    for number, (size, took) in enumerate(runs, start=1):
        start, half, end = run(number, size, began, took, before=False)
        forecast.add(start)
        forecast.add(half)
        left.append(forecast.left)
        shares.append(forecast.share)
        forecast.add(end)
        began += took
    # Half of the first run took 5 s: so 10 s each, 40 s in all. Then the others are known, too.
    assert left == [35.0, 1.0 + 10.0 + 2.0, 5.0 + 2.0, 1.0]
    assert shares == pytest.approx([5 / 40, 11 / 24, 17 / 24, 23 / 24])


def test_runs_that_were_finished_before_take_no_time() -> None:
    forecast = Forecast()
    for event in (
        START,
        *run(1, 50, 0.0, 0.0, before=True),
        *run(2, "full", 0.0, 2.0, before=False),
    ):
        forecast.add(event)
    start, half, _ = run(3, 50, 2.0, 10.0, before=False)
    forecast.add(start)
    forecast.add(half)
    assert forecast.left == 5.0 + 2.0


def test_without_a_known_end_the_bar_counts_runs() -> None:
    forecast = Forecast()
    for event in (START, *run(1, 50, 0.0, 3.0, before=False)):
        forecast.add(event)
    forecast.add(RunStart(3.0, "b", "full", 0, 0.1, "arm", 2, 4, None, finished_before=False))
    forecast.add(RunProgress(4.0, 1, 50, 1.0, None))
    assert (forecast.share, forecast.left) == (0.25, None)


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_runs_kept_from_before_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    screen = Screen()
    with compare_display.human_renderer(screen, Results(), quiet=False, plain=False) as terminal:
        terminal.show(START)
        for number in (1, 2):
            for event in run(number, 50, 0.0, 0.0, before=True):
                terminal.show(event)
        for event in run(3, "full", 0.0, 2.0, before=False):
            terminal.show(event)
    shown = screen.getvalue()
    assert shown.count("2 runs were finished before and not trained again") == 1
    assert "Run [1/4]" not in shown.partition("2 runs were")[2]
    assert "Run [3/4], full batch, seed 0: test accuracy 0.9000" in shown


def test_the_line_of_a_run_loses_whole_results_on_a_narrow_terminal() -> None:
    line = "Run [1/6], full batch, seed 0: test accuracy 0.8241, 76 updates, 0.1 s"
    shortened = [compare_display._shortened(line, width) for width in (80, 66, 60, 40)]
    assert shortened == [line, line[:-7], line[:-19], line[:-19]]


def test_every_table_names_the_settings_of_its_rows() -> None:
    widths = {"batch size": 10, "setting": 20, "updates": 12, "seconds": 12, "test accuracy": 14}
    tables = compare_display._tables(widths, 60)
    assert [table[:2] for table in tables] == [["batch size", "setting"]] * len(tables)
    assert [name for table in tables for name in table[2:]] == [*widths][2:]


def test_columns_are_divided_among_tables_that_fit() -> None:
    widths = {"batch size": 10, "a": 20, "b": 20, "c": 20, "long": 90}
    tables = compare_display._tables(widths, 60)
    assert tables == [["batch size", "a", "b"], ["batch size", "c"], ["batch size", "long"]]


@pytest.mark.parametrize(
    ("runs", "seconds", "line"),
    [
        (15, 170.0, "15 runs, about 3 minutes"),
        (1, 4.0, "1 run, a few seconds"),
        (2, 38.0, "2 runs, about 40 seconds"),
        (12, 9_000.0, "12 runs, about 2.5 hours"),
        (3, None, "3 runs"),
    ],
)
def test_the_time_is_estimated_in_one_line(runs: int, seconds: float | None, line: str) -> None:
    stream = io.StringIO()
    with compare_display.human_renderer(stream, Results(), quiet=False, plain=False) as lines:
        lines.show(Estimate(0.0, runs, seconds))
    assert stream.getvalue() == f"{line}\n"
