"""A comparison's page and figures: whole, self-contained, and working in a real browser."""

import importlib
import io
import re
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_cli.cli import program
from mnist_cli.comparison.compare import compare
from mnist_cli.comparison.events import Trial, Tuned
from mnist_cli.comparison.findings import (
    Conclusions,
    LearningRates,
    SeveralMachines,
    conclusions,
    rank,
)
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.stats import mean_and_deviation
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import COLUMNS, CompareConfig
from mnist_cli.errors import UsageError
from mnist_cli.output import compare_answers, compare_display, compare_table
from mnist_cli.output.compare_findings import headline
from mnist_cli.output.figures import compare as compare_figure
from mnist_cli.output.figures import ordered_colours, variant_colours
from mnist_cli.output.html import compare as compare_page
from mnist_cli.training.probes import alignment
from tests.helpers.browsing import VIEWS, OpenPage, check_self_contained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(few_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    found = Results()
    config = CompareConfig(
        dataset="qmnist",
        model="linear",
        subset=300,
        batch_sizes="30,100,full",
        seeds=2,
        epochs=4,
        probe="sharpness,alignment,path",
        probe_every=20,
        probe_samples=50,
        lr_range=True,
        val_size=100,
        data_dir=str(few_dir),
        output=str(tmp_path_factory.mktemp("report") / "comparison"),
    )
    with pytest.MonkeyPatch.context() as patch:  # of the 1,110 gradients that a probe takes
        patch.setattr(alignment, "_MIN_DRAWS", 4)
        patch.setattr(alignment, "_MIN_SAMPLES", 4)
        list(compare(config, found))
    return found


def test_a_page_has_no_address_to_load_anything_from(results: Results) -> None:
    check_self_contained(compare_page.render(results))


def test_a_text_cannot_end_the_pages_script(results: Results) -> None:
    changed = copy(results)
    changed.start = replace(results.start, command="</script><b>{{ data }}")
    changed.conclusions = Conclusions(0.0, [SeveralMachines(["</script><b>", "other"])])
    written = compare_page.render(changed)
    assert "<b>" not in written
    assert "&lt;/script&gt;&lt;b&gt;{{ data }}" in written


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_works_in_a_browser(
    results: Results, browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(compare_page.render(results))
    opened = OpenPage(browser, path, width, scheme)
    view = opened.view
    drawn = {}
    for axis in ("updates", "samples seen", "seconds"):
        view.get_by_role("radio", name=axis).check()
        drawn[axis] = [
            view.locator(f"#{chart} path").last.get_attribute("d") for chart in ("loss", "accuracy")
        ]
        assert view.locator("#loss svg text", has_text=axis).count() == 1
        finding = view.locator("#finding").inner_text()
        # Two updates in batch mode are too few to compare, and may take longer than all others.
        assert ("equal samples" in finding) == (axis == "samples seen")
    assert len({str(paths) for paths in drawn.values()}) == 3
    for mark in ("curve", "band", "dots", "end"):  # one for each batch size
        assert view.locator(f"#loss .{mark}").count() == 3
    view.get_by_role("radio", name="updates").check()  # what the seconds show depends on the clock
    assert view.locator("#loss .end").all_text_contents()[0] == "full"  # the highest loss
    view.get_by_role("button", name="full").click()
    assert view.locator("#loss .curve").count() == 2
    view.get_by_role("radio", name="linear").check()
    assert view.locator("#table tr").count() == 4
    assert view.locator("#verdict li").count() >= 5
    assert view.locator("#sharpness path").count() > 2
    assert view.locator("#plane .walk").count() == 2  # one size is hidden
    assert view.locator("#plane .contour").count() > 5
    share = f"{100 * results.plane.share:.0f} % of the way" if results.plane else ""
    assert share in view.locator("#paths").inner_text()
    assert share in view.locator("#verdict").inner_text()
    opened.check(width, scheme)


def test_every_size_has_a_curve_though_its_runs_take_quite_different_times(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    changed = copy(results)
    changed.runs = [
        replace(run, points=[replace(p, train_seconds=1000 * p.train_seconds) for p in run.points])
        if run.end.seed
        else run
        for run in results.runs
    ]
    opened = open_report(changed, browser, tmp_path)
    view = opened.view
    view.get_by_role("radio", name="seconds").check()
    for mark in ("curve", "band"):
        assert view.locator(f"#loss .{mark}").count() == 3
    opened.close()


def open_report(results: Results, browser: Any, tmp_path: Path, **options: Any) -> OpenPage:
    path = tmp_path / "report.html"
    path.write_text(compare_page.render(results, options.pop("answer", None)))
    return OpenPage(browser, path, **options)


SETTINGS = [f"shuffle {a}, sort by class {b}" for a in ("on", "off") for b in ("on", "off")]


def with_settings(results: Results) -> Results:
    """Return the results as if their variants had long names, as with --vary."""
    variants = dict(zip(results.variants, SETTINGS, strict=False))
    changed = copy(results)
    changed.runs = [
        replace(run, variant=Variant(64, variants[run.variant], names_size=False))
        for run in results.runs
    ]
    changed.tuned, changed.plane = [], None
    if results.plane:
        settings: list[str | None] = [*variants.values()]
        changed.plane = replace(results.plane, batch_sizes=[64] * 3, settings=settings)
    return changed


@pytest.mark.parametrize("width", [1280, 390])
def test_variants_with_long_names_have_letters_that_are_explained(
    results: Results, browser: Any, tmp_path: Path, width: int
) -> None:
    long = with_settings(results)
    opened = open_report(long, browser, tmp_path, width=width)
    view = opened.view
    named = [f"{letter} {name}" for letter, name in zip("ABC", SETTINGS, strict=False)]
    for place in ("#loss .end", "#accuracy .end"):
        assert sorted(view.locator(place).all_text_contents()) == ["A", "B", "C"]
    assert sorted(view.locator("#plane .end").all_text_contents()) == ["A", "B", "C", "start"]
    names = [text.replace("\n", " ") for text in view.locator("#keys button").all_inner_texts()]
    assert names == named
    lanes = view.locator("#lanes span")
    assert [" ".join(text.split()) for text in lanes.all_inner_texts()] == named
    rows = view.locator("#table tr").all_inner_texts()[1:]
    assert [row.split("\t")[:2] for row in rows] == [
        [f"{letter} 64", name] for letter, name in zip("ABC", SETTINGS, strict=False)
    ]
    # The curves are as wide as with short names.
    axis = "e => e.getBBox().width / e.ownerSVGElement.viewBox.baseVal.width"
    wide = view.locator("#loss .axis").last.evaluate(axis)
    assert wide > 0.7
    # Names are read across, not down.
    line = "e => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)"
    assert max(lanes.nth(n).evaluate(line) for n in range(3)) < 1.1
    opened.check(width, "light")


def test_there_are_letters_for_any_number_of_variants() -> None:
    variants = [Variant(64, f"momentum {n / 100:g}") for n in range(60)]
    marks = compare_page._marks(variants)
    assert len({*marks}) == 60
    assert [marks[n] for n in (0, 25, 26, 59)] == ["A", "Z", "A2", "H3"]
    assert compare_page._marks([Variant(4), Variant("full")]) == ["4", "full"]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_table_fits_or_says_that_it_scrolls(
    results: Results, browser: Any, tmp_path: Path, width: int
) -> None:
    plain = copy(results)  # of the measurements that every comparison has
    plain.runs = [replace(run, sharpness=[]) for run in results.runs]
    plain.tuned = []
    for each, fits in ((with_settings(plain), width == 1280), (results, None)):
        opened = open_report(each, browser, tmp_path, width=width)
        table = opened.view.locator("#table")
        is_cut = table.evaluate("e => e.scrollWidth > e.parentElement.clientWidth")
        assert fits is None or is_cut != fits
        assert opened.view.locator("#scrolls").is_visible() == is_cut
        opened.view.get_by_role("region", name="Table").evaluate("e => e.scrollTo(9999, 0)")
        assert table.locator("td").first.evaluate("e => e.getBoundingClientRect().left") >= 0
        opened.close()


def test_a_headline_says_how_many_are_clearly_behind() -> None:
    def ranked(*values: list[float]) -> str:
        named = {Variant(2**n): each for n, each in enumerate(values)}
        return headline(rank("test accuracy", named, higher=True))

    title = "Highest test accuracy at the end of the budget"
    best, near, far = [0.90, 0.91, 0.92], [0.92, 0.90, 0.90], [0.50, 0.51, 0.521]
    first = f"{title}: batches of 1, 91.00 ± 1.00 %."
    assert ranked(best, far) == f"{first} Clearly ahead of batches of 2."
    assert ranked(best, far, far) == f"{first} Clearly ahead of all others."
    assert ranked(best, far, near) == f"{first} Clearly ahead of 1 of the 2 others."
    assert ranked(best, near) == f"{title}: 3 seeds cannot tell."
    assert ranked([0.9], [0.8]) == f"{title} (one seed, no test): batches of 1, 90.00 %."


def test_a_headline_does_not_call_a_rate_best_that_may_not_be() -> None:
    def tuned(reason: str, *, at_edge: bool) -> LearningRates:
        trial = Trial(0.1, reason, 1, 1.0, 0.5, 0.5, 0.9, stable=True)
        search = Tuned(0.0, 64, 0, 0.1, [trial], 1.0, None, None, at_edge=at_edge)
        return LearningRates(Variant(64), search, is_used=True, has_range=False)

    inside = tuned("completed", at_edge=False)
    assert headline(inside) == "For batches of 64 a rate of 0.1 was best."
    assert "0.1 was best by held-out samples, at the edge" in headline(
        tuned("completed", at_edge=True)
    )
    assert "the rates 0.1 were tried; all diverged." in headline(tuned("diverged", at_edge=True))


CRITICAL = {"momentum 0": (50.0, 60.0), "momentum 0.9": (90.0, 110.0)}  # by seed


def with_target(results: Results, *, vary: bool = True) -> Results:
    """Return the results as if the runs took S (1 + C / B) updates to a target, with known C."""
    changed = copy(results)
    changed.plane = None
    config = results.start.config | {"until_accuracy": 0.5, "lr_rule": "tuned"}
    varied = {"vary": "momentum=0,0.9"} if vary else {}
    changed.start = replace(results.start, config=config | varied)
    changed.runs = [
        replace(
            run,
            variant=replace(run.variant, setting=setting if vary else None),
            end=replace(
                run.end,
                reason="until-accuracy",
                update=round(1e5 * (1 + critical[run.end.seed] / results.update_size(run.variant))),
            ),
        )
        for setting, critical in list(CRITICAL.items())[: 2 if vary else 1]
        for run in results.runs
    ]
    first = results.tuned[0]
    costs = {0.01: None, 0.02: 90, 0.05: 84, 0.1: 80, 0.2: 200, 0.5: None}
    trial = replace(first.tried[0], seed=0)
    tried = [
        replace(trial, lr=lr, update=cost or 1, reason="until-accuracy" if cost else "gave-up")
        for lr, cost in costs.items()
    ]
    other = replace(trial, lr=0.1, update=120, reason="until-accuracy", seed=1)
    setting = "momentum 0" if vary else None
    changed.tuned = [
        replace(first, lr=0.1, tried=[*tried, other], flat_from=0.05, flat_to=0.1, setting=setting)
    ]
    options = CompareConfig(
        until_accuracy=0.5, lr_rule="tuned", seeds=2, val_size=100, vary=varied.get("vary")
    )
    changed.conclusions = conclusions(0.0, options, changed)
    return changed


def place_on_axis(chart: Any, x: float) -> float:
    """Return what is at a place of a logarithmic axis, from its first two labels."""
    ticks = chart.locator("text[text-anchor=middle]")
    (a, left), (b, right) = (
        (float(ticks.nth(n).text_content()), float(ticks.nth(n).get_attribute("x"))) for n in (0, 1)
    )
    return float(a * (b / a) ** ((x - left) / (right - left)))


def test_the_target_has_its_costs_and_critical_batch_size_for_each_setting(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(with_target(results), browser, tmp_path, width=390)
    chart = opened.view.locator("#target-updates")
    assert chart.locator(".mark").count() == 3 * 2 * 2  # sizes, seeds, settings
    assert chart.locator(".curve").count() == 2
    for n, critical in enumerate(CRITICAL.values()):
        place = place_on_axis(chart, float(chart.locator(".line").nth(n).get_attribute("x1")))
        assert critical[0] < place < critical[1]
        band = chart.locator(".span").nth(n)
        left, wide = (float(band.get_attribute(name)) for name in ("x", "width"))
        assert place_on_axis(chart, left) == pytest.approx(critical[0], rel=0.02)
        assert place_on_axis(chart, left + wide) == pytest.approx(critical[1], rel=0.02)
    said = opened.view.locator("#target-fits li").all_inner_texts()
    form = r"(.*): critical batch size \d+ \((.*)\), at least 100,\d{3} updates"
    assert [re.sub(form, r"\1, \2", text) for text in said] == [
        "momentum 0, by seed: 50, 60",
        "momentum 0.9, by seed: 90, 110",
    ]
    assert opened.view.locator("#target-seconds .joined").count() == 2
    opened.check(390, "light")


def test_sizes_without_a_critical_one_have_no_fit_in_the_chart(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    equal = with_target(results, vary=False)
    equal.runs = [replace(run, end=replace(run.end, update=100)) for run in equal.runs]
    equal.conclusions = conclusions(0.0, CompareConfig(until_accuracy=0.5, val_size=100), equal)
    opened = open_report(equal, browser, tmp_path)
    chart = opened.view.locator("#target-updates")
    assert chart.locator(".curve, .line, .span").count() == 0
    assert chart.locator(".joined").count() == 1
    said = opened.view.locator("#target-fits").inner_text()
    assert said == "no critical batch size among these"
    opened.close()
    opened = open_report(results, browser, tmp_path)  # without a target
    assert not opened.view.locator("#target").is_visible()
    opened.close()


def test_the_trials_of_learning_rates_show_the_chosen_one_and_those_as_good(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(with_target(results), browser, tmp_path)
    chart = opened.view.locator("#trials")
    assert chart.locator(".failed").count() == 2
    assert chart.locator(".mark").count() == 1  # the other seed's
    ring = float(chart.locator(".ring").get_attribute("cx"))
    assert place_on_axis(chart, ring) == pytest.approx(0.1, rel=0.01)
    wide = re.findall(r"[ML]([\d.]+)", chart.locator(".wide").get_attribute("d"))
    assert [place_on_axis(chart, float(x)) for x in wide] == pytest.approx([0.05, 0.1], rel=0.01)
    opened.view.get_by_role("button", name="30, momentum 0", exact=False).first.click()
    assert chart.inner_text() == "Nothing to show."
    opened.close()


def test_a_search_for_stable_rates_shows_the_losses_and_the_stable_ones(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(results, browser, tmp_path)
    chart = opened.view.locator("#trials")
    assert chart.locator(".curve").count() == 3
    stable = [tuned for tuned in results.tuned if tuned.stable_from is not None]
    assert chart.locator(".wide").count() == len(stable) > 0
    assert chart.locator(".ring").count() == 0
    assert chart.locator(".unit").text_content() == "nats"
    opened.close()


def hover(view: Any, chart: str, share: float) -> str:
    """Return what is shown over a chart, where `share` of its axis is to the left."""
    axis = view.locator(f"{chart} line.axis").last
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    view.mouse.move(box["x"] + share * box["width"], box["y"] - 60)
    return str(view.get_by_role("status").inner_text())


def test_what_is_shown_between_points_is_interpolated_on_the_scales_of_the_axes(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    line = copy(results)
    line.plane, line.tuned = None, []
    ends = [(1, 1.0, 0.5), (100, 0.01, 0.9)]
    points = [replace(results.runs[0].points[0], update=u, train_loss=x) for u, x, _ in ends]
    points = [replace(p, test_accuracy=y) for p, (_, _, y) in zip(points, ends, strict=True)]
    line.runs = [replace(run, points=points, batch_losses=[]) for run in results.runs[:1]]
    opened = open_report(line, browser, tmp_path)
    view = opened.view

    def shown(chart: str) -> list[float]:
        return [float(number) for number in re.findall(r"[\d.]+", hover(view, chart, 0.5))]

    assert shown("#loss") == pytest.approx([10, 30, 0.1], rel=0.05)  # updates, size, loss
    assert shown("#accuracy") == pytest.approx([10, 30, 70], rel=0.05)
    view.get_by_role("radio", name="log, of errors").check()
    assert shown("#accuracy") == pytest.approx([10, 30, 100 * (0.5 * 0.1) ** 0.5], rel=0.05)
    view.get_by_role("radio", name="linear").check()
    assert shown("#loss") == pytest.approx([50.5, 30, 0.505], rel=0.05)
    opened.close()


def test_losses_have_a_unit_and_accuracies_a_scale_of_errors(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(results, browser, tmp_path)
    view = opened.view
    assert view.locator("#loss .unit").text_content() == "nats"
    assert view.locator("#accuracy-caption").inner_text() == "Test accuracy"
    view.get_by_role("radio", name="log, of errors").check()
    assert view.locator("#accuracy-caption").inner_text() == "Test error"
    heights = []
    for mark in view.locator("#accuracy .curve").all():
        heights.append(float(mark.get_attribute("d").split()[-1]))
    labels = view.locator("#accuracy text[text-anchor=end]")
    (a, low), (b, high) = (
        (float(labels.nth(n).text_content().split()[0]), float(labels.nth(n).get_attribute("y")))
        for n in (0, 1)
    )
    drawn = [a * (b / a) ** ((y + 4 - low) / (high - low)) for y in heights]
    errors = [
        mean_and_deviation([100 * (1 - run.points[-1].test_accuracy) for run in runs]).mean
        for runs in map(results.runs_of, results.variants)
    ]
    assert drawn == pytest.approx(errors, rel=0.01)
    opened.close()


def test_the_seeds_that_did_not_diverge_are_never_averaged_alone(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    changed = copy(results)
    first, *others = results.runs
    diverged = replace(first, end=replace(first.end, reason="diverged"), points=first.points[:-2])
    changed.runs = [diverged, *others]
    opened = open_report(changed, browser, tmp_path)
    view = opened.view
    for chart in ("#loss", "#accuracy"):
        assert view.locator(f"{chart} .curve").count() == 2
        assert view.locator(f"{chart} .band").count() == 2
        assert view.locator(f"{chart} .seed").count() == 2
    assert view.locator("#about-diverged").is_visible()
    assert "1 of 2 diverged" in view.locator("#lanes small").first.inner_text()
    opened.close()
    opened = open_report(results, browser, tmp_path)
    assert not opened.view.locator("#about-diverged").is_visible()
    opened.close()


def test_where_some_runs_have_ended_the_others_are_not_averaged(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    changed = copy(results)
    changed.runs = []
    for run in results.runs:  # of each size, one run takes 10 seconds and the other 5
        last = run.points[-1].train_seconds / (5 if run.end.seed else 10)
        points = [replace(p, train_seconds=p.train_seconds / last) for p in run.points]
        changed.runs.append(replace(run, points=points))
    opened = open_report(changed, browser, tmp_path)
    assert "full" in hover(opened.view, "#race-chart", 0.45)
    assert "full" not in hover(opened.view, "#race-chart", 0.55)
    opened.close()


def test_a_loss_beyond_the_axis_leaves_it_and_comes_back(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    changed = copy(results)
    losses = [1e30 if n == 3 else 1.0 for n in range(len(results.runs[0].points))]
    changed.runs = [
        replace(
            run,
            points=[replace(p, train_loss=x) for p, x in zip(run.points, losses, strict=False)],
        )
        for run in results.runs
    ]
    opened = open_report(changed, browser, tmp_path)
    for scale in ("linear", "log, of errors"):
        opened.view.get_by_role("radio", name=scale).check()
        heights = opened.view.locator("#loss .curve").first.get_attribute("d").split("L")
        tops = [float(each.split()[-1]) < 0 for each in heights]
        assert tops.count(True) == 1
        highest = opened.view.locator("#loss text[text-anchor=end]").all_text_contents()
        assert "M" not in "".join(highest)  # millions
    opened.close()


def test_dots_are_the_losses_of_single_updates(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(results, browser, tmp_path)
    drawn = opened.view.locator("#loss .dots").evaluate_all(
        "(paths) => paths.map((path) => path.getAttribute('d').split('M').length - 1)"
    )
    assert drawn == [2 * 40, 2 * 12, 2 * 4]  # two seeds with so many updates each
    opened.close()
    many = copy(results)
    losses = [(update, 1.0) for update in range(1, 2001)]
    many.runs = [replace(run, batch_losses=losses) for run in results.runs]
    page = compare_page._data(many, None)
    assert all(len(run["batches"]) == 667 for run in page["runs"])


def test_the_race_shows_every_run_at_its_second(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(results, browser, tmp_path)
    view = opened.view
    lanes = view.locator("#lanes small")
    assert "40 updates, done after" in lanes.nth(0).inner_text()
    view.locator("#clock").fill("0")
    assert [text.split()[0] for text in lanes.all_inner_texts()] == ["0", "0", "0"]
    view.get_by_role("button", name="Play").click()
    lanes.nth(2).get_by_text("done after").wait_for(timeout=30000)
    opened.close()


def test_with_less_motion_the_race_has_a_slider_only(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(results, browser, tmp_path, motion="reduce")
    assert opened.view.get_by_role("button", name="Play").count() == 0
    assert opened.view.get_by_role("slider").is_visible()
    opened.close()


def test_terms_are_explained_by_keyboard_and_by_touch(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(results, browser, tmp_path, has_touch=True)
    tip = opened.view.get_by_role("status")
    term = opened.view.get_by_role("button", name="loss rose")
    term.focus()
    assert tip.inner_text().startswith("The share of the monitored updates")
    opened.view.keyboard.press("Escape")
    assert not tip.is_visible()
    fold = opened.view.locator("#verdict details").first
    assert not fold.locator("p").is_visible()  # what the result is stands in the summary
    fold.locator("summary").tap()
    fold.get_by_role("button", name="±").first.tap()
    assert "over the seeds" in tip.inner_text()
    opened.close()


def test_a_projector_gets_larger_curves_and_text(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    opened = open_report(results, browser, tmp_path, width=1920)
    size = "[document.querySelector('#loss svg').clientWidth, $('lead').clientHeight]"
    before = opened.view.evaluate(size)
    opened.view.get_by_role("button", name="Projector").click()
    opened.view.locator(".projector #loss > svg").wait_for()
    assert all(
        large > 1.3 * small for large, small in zip(opened.view.evaluate(size), before, strict=True)
    )
    opened.view.go_back()
    opened.view.locator("html:not(.projector) #loss > svg").wait_for()
    assert opened.view.evaluate(size) == before
    opened.close()


def test_an_experiments_page_is_headed_by_its_question_and_begins_with_the_answer(
    results: Results, browser: Any, tmp_path: Path
) -> None:
    answer = compare_answers.answer("claim-steady", results)
    assert answer is not None
    assert answer.question == "Are batch steps steadier?"
    opened = open_report(results, browser, tmp_path, answer=answer)
    assert opened.view.get_by_role("heading", level=1).inner_text() == answer.question
    verdict, _, numbers = answer.text.partition(": ")
    assert opened.view.locator("#lead").inner_text() == f"{verdict}:"
    assert opened.view.locator("#numbers li").all_inner_texts() == [numbers]
    sizes = "[$('lead'), $('numbers')].map((e) => parseFloat(getComputedStyle(e).fontSize))"
    large, small = opened.view.evaluate(sizes)
    assert large > small
    opened.close()
    assert compare_answers.answer("default", results) is None
    assert compare_answers.answer("steps-to-target", results) is None  # no target was asked for


@pytest.mark.parametrize(
    ("panel", "ending", "same"),
    [
        ("rates", "svg", "auto"),
        ("noise", "png", ""),
        ("sharpness", "svg", ""),
        ("curves", "png", ""),
        ("path", "svg", ""),
    ],
)
def test_a_figure_is_of_its_endings_format_and_always_the_same(
    panel: str, ending: str, same: str, results: Results
) -> None:
    drawn = compare_figure.draw(results, f"a.{ending}", panel)
    assert drawn.startswith({"svg": b"<?xml", "png": b"\x89PNG"}[ending])
    assert not same or drawn == compare_figure.draw(results, f"a.{ending}", same)


@pytest.mark.parametrize("panel", ["curves", "target", "noise", "path", "sharpness", "rates"])
def test_a_legend_stands_outside_the_data(panel: str, results: Results) -> None:
    if panel == "target":
        shown = with_target(results)
    else:
        shown = results if panel in ("rates", "noise") else with_settings(results)
    figure = compare_figure.Figure(layout="constrained")
    assert compare_figure._PANELS[panel](shown, figure)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    below = legend.get_window_extent()
    assert below.x0 >= 0
    assert below.x1 <= figure.bbox.x1
    for axes in figure.axes:
        assert axes.get_legend() is None
        assert below.y1 <= axes.get_tightbbox().y0
        assert axes.bbox.height > 0.3 * figure.bbox.height / len({a.bbox.y0 for a in figure.axes})


def test_the_figure_of_a_target_has_the_fit_of_each_setting(results: Results) -> None:
    figure = compare_figure.Figure(layout="constrained")
    assert compare_figure._target(with_target(results), figure)
    left, right = figure.axes
    assert len(left.containers) == len(right.containers) == 2
    labels = left.get_legend_handles_labels()[1]
    assert {*CRITICAL} < {*labels}
    sizes = [float(text.split()[-1]) for text in labels if text.startswith("critical")]
    for size, (low, high) in zip(sizes, CRITICAL.values(), strict=True):
        assert low < size < high


def test_a_panel_of_what_was_not_measured_is_a_usage_error(results: Results) -> None:
    with pytest.raises(UsageError, match="--panel target"):
        compare_figure.draw(results, "a.svg", "target")


def test_without_matplotlib_a_figure_is_a_usage_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("compare", "style"):
        monkeypatch.delitem(sys.modules, f"mnist_cli.output.figures.{name}", raising=False)
    with pytest.raises(UsageError, match="pip install"):
        importlib.import_module("mnist_cli.output.figures.compare")


def test_without_matplotlib_there_is_a_page(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("html.compare", "figures.style", "figures"):
        monkeypatch.delitem(sys.modules, f"mnist_cli.output.{name}", raising=False)
    page = importlib.import_module("mnist_cli.output.html.compare")
    assert "<html" in page.render(results)


def test_curves_in_characters_fit_the_terminal(results: Results) -> None:
    for width in (40, 80, 200):
        lines = compare_display.draw(results, width, colour=False).splitlines()
        assert len(lines) > 5
        assert max(map(len, lines)) <= width
    assert "\x1b" not in compare_display.draw(results, 80, colour=False)
    drawn = compare_display.draw(results, 80, colour=True)
    assert "full" in drawn
    assert {char for char in drawn if not char.isascii()} <= program._ASCII.keys()


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_no_cell_of_the_tables_is_cut_off(
    columns: int, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.StringIO()
    compare_display.print_results(results, stream)
    shown = stream.getvalue()
    assert "…" not in shown
    assert all(
        cell in shown for s in results.summaries() for cell in compare_table.cells(s).values()
    )


def test_the_legend_stands_below_the_curves_and_covers_none(results: Results) -> None:
    for width in (40, 80):
        *_, axis, legend = compare_display.draw(results, width, colour=False).splitlines()
        assert legend == "  o 30  x 100  + full"
        assert "10" in axis
    *_, legend = compare_display.draw(results, 80, colour=True).splitlines()
    assert re.sub(r"\x1b\[\d+m", "", legend) == "  ━ 30  ━ 100  ━ full"


def test_the_table_shows_every_batch_size_with_its_deviation(results: Results) -> None:
    rows = [compare_table.cells(summary) for summary in results.summaries()]
    assert [row["batch size"] for row in rows] == ["30", "100", "full"]
    assert all("±" in row["test accuracy"] for row in rows)
    assert [row["updates"] for row in rows] == ["40", "12", "4"]


def test_chosen_columns_of_the_table_come_in_their_order(results: Results) -> None:
    whole = [line.split("\t") for line in compare_table.table(results).splitlines()]
    assert whole[0] == list(COLUMNS)
    names = ("test_accuracy_std", "batch_size")
    chosen = [line.split("\t") for line in compare_table.table(results, names).splitlines()]
    places = [COLUMNS.index(name) for name in names]
    assert chosen == [[row[place] for place in places] for row in whole]
    summary = next(results.summaries())
    assert summary.test_accuracy is not None
    assert chosen[1] == [str(summary.test_accuracy.deviation), "30"]


def test_colours_are_in_the_order_of_the_sizes_and_stand_out_from_the_background() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def stand_out(values: list[float], card: str) -> bool:
        pairs = [sorted((value, luminance(card))) for value in values]
        return all((high + 0.05) / (low + 0.05) >= 2.9 for low, high in pairs)

    sizes = [16, 6000, 64, 1024, 256]
    for dark, card in ((False, "#ffffff"), (True, "#1d2026")):
        shades = ordered_colours(sizes, dark=dark)
        values = [luminance(shades[place]) for place in (0, 2, 4, 3, 1)]
        assert values == sorted(values, reverse=True)
        assert stand_out(values, card)
        assert stand_out([luminance(each) for each in variant_colours(None, 4, dark=dark)], card)
    assert len(ordered_colours([64])) == 1


def test_settings_of_one_batch_size_have_no_order(results: Results) -> None:
    assert results.places() is not None
    one = with_target(results)
    one.runs = [run for run in one.runs if run.variant.batch_size == one.runs[0].variant.batch_size]
    assert one.places() is None
    assert compare_figure.draw(one, "a.svg", "curves").count(b"#0072b2") > 0
