"""The worker's pace: which run is next, when it stops, how soon it answers, how fast it is."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.output.lesson.helpers import MEASURED, WorkerPage, curves, network_of, run

Heard = list[dict[str, Any]]


def states(heard: Heard) -> Heard:
    return [message for message in heard if message["type"] == "state"]


@pytest.mark.parametrize("pace", ["updates", "samples", "seconds"])
def test_runs_stay_equal_on_the_pace_and_stop_where_they_should(
    page: WorkerPage, pace: str
) -> None:
    """Runs are never further apart than the largest update takes them."""
    end = {"updates": 21, "samples": 3 * 2000 + 1, "seconds": 0.3}[pace]
    page.configure(run("linear", 48), run("linear", 2000))
    heard = page.play(pace=pace, until={pace: end})
    column = ["updates", "samples", "seconds"].index(pace)
    last = heard[-1]["runs"]
    ends = [[row[column] for row in curves(heard, n)[0]] + [last[n][pace]] for n in range(2)]
    largest = max(after - before for run_ends in ends for before, after in pairwise(run_ends))
    for state in states(heard):
        mini, batch = state["runs"]
        assert abs(mini[pace] - batch[pace]) <= largest + 1e-9
    assert heard[-1]["reason"] == "until"
    found = {name: [one[name] for one in last] for name in ("updates", "samples")}
    if pace == "updates":
        assert found == {"updates": [21, 21], "samples": [21 * 48, 21 * 2000]}
    elif pace == "samples":  # 42 updates make an epoch
        assert found == {"updates": [3 * 42 + 1, 4], "samples": [3 * 2000 + 48, 4 * 2000]}
    else:
        assert all(end <= one["seconds"] <= end + largest for one in last)


def test_one_update_of_one_run_and_the_rest_of_an_epoch(page: WorkerPage) -> None:
    page.configure(run("linear", 48), run("linear", 2000))
    assert [one["updates"] for one in page.step(2, index=0)["runs"]] == [2, 0]
    last = page.finish(type="epoch")[-1]
    assert [one["samples"] for one in last["runs"]] == [2000, 2000]
    assert [one["updates"] for one in last["runs"]] == [42, 1]
    assert (last["playing"], last["reason"]) == (False, "epoch")


def test_a_rate_holds_back_the_run_that_makes_most_updates(page: WorkerPage) -> None:
    page.configure(run("linear", 500), run("linear", 2000))
    heard = page.play(pace="samples", rate=20, measure="each", until={"samples": 8000})
    first, last = states(heard)[0]["at"], states(heard)[-1]["at"]
    assert [one["updates"] for one in heard[-1]["runs"]] == [16, 4]
    assert last - first > 15 / 20 * 1000 - 100
    assert [point[0] for point in curves(heard, 0)[1]] == list(range(1, 17))  # all were measured


def test_between_slow_updates_there_is_time_to_measure_and_to_draw_the_plane(
    page: WorkerPage,
) -> None:
    heard = page.configure(run("linear", 64))
    assert heard[0]["type"] == "points"  # curves of before are forgotten at once
    assert (heard[0]["reset"], heard[0]["full"]) == (True, [])
    heard += page.play(rate=3, until={"updates": 4})
    assert [point[0] for point in curves(heard)[1]] == [0, 1, 2, 3, 4]
    assert "plane" in [message["type"] for message in heard]


def test_points_are_thinned_and_stand_where_they_were_computed(page: WorkerPage) -> None:
    configured = page.configure(run("linear", 1, lr=0.001), run("linear", 2000))
    heard = configured + page.play(pace="samples", until={"samples": 6000})
    batch, _full = curves(heard, 0)
    assert 1000 <= len(batch) <= 2000
    assert {end[0] - start[0] for start, end in pairwise(batch)} == {4}
    assert all(point[0] == point[1] for point in batch)
    batch, full = curves(heard, 1)
    assert [point[:2] for point in batch] == [[0, 0], [1, 2000], [2, 4000]]
    assert full[0][3] == batch[0][3] == pytest.approx(math.log(10))  # the loss on all is the same
    assert full[-1][:2] == [3, 6000]  # a stop is measured


def test_a_drawing_is_read_while_the_networks_train(page: WorkerPage, samples: Any) -> None:
    image = samples.test.images[0]
    page.configure(run("linear", 64), run("hidden", 64))
    weights = [one["weights"] for one in page.step(40)["runs"]]
    question = {"type": "read", "id": 5, "pixels": image.flatten().tolist()}
    answer = page.ask(question, until="last.type === 'reading'")[-1]
    assert answer["id"] == 5
    for name, values, found in zip(("linear", "hidden"), weights, answer["runs"], strict=True):
        logits = network_of(name, torch.tensor(values).numpy())(image[None])[0]
        assert found["logits"] == pytest.approx(logits.tolist(), abs=1e-5)
        assert found["probabilities"] == pytest.approx(logits.softmax(0).tolist(), abs=1e-5)
    play = {"type": "play", "pace": "updates", "rate": 0, "measure": "each", "until": None}
    page.ask(play, question, until="last.type === 'reading'")
    page.finish(type="pause")


def test_a_wrong_message_is_told_and_does_no_harm(page: WorkerPage) -> None:
    page.configure(run("linear", 64))
    page.view.evaluate("worker.postMessage({ type: 'nonsense' })")
    page.view.wait_for_function("heard.some((one) => one.type === 'error')")
    assert "nonsense" not in page.complaints
    page.complaints.clear()  # the error is on the console of this page
    assert page.step()["runs"][0]["updates"] == 1


def test_a_pause_is_answered_within_100_ms(page: WorkerPage) -> None:
    """At the fifth attempt at the latest, since other programs may have the core."""
    page.configure(run("hidden", 64), run("hidden", 2000))
    waits = []
    for _ in range(5):
        play = {"type": "play", "pace": "updates", "rate": 0, "measure": "some", "until": None}
        page.ask(play, until="heard.filter((one) => one.type === 'state').length > 3")
        asked = page.view.evaluate("performance.now()")
        heard = page.ask({"type": "pause"}, until=MEASURED)
        waits.append(next(one["at"] for one in states(heard) if not one["playing"]) - asked)
        if waits[-1] < 100:
            break
    assert waits[-1] < 100


@pytest.mark.parametrize(("network", "size"), [("linear", 64), ("hidden", 64), ("hidden", 2000)])
def test_an_epoch_is_fast(page: WorkerPage, network: str, size: int) -> None:
    """The best of ten epochs, since other programs may have the core; here it takes 35 to 60 ms."""
    page.configure(run(network, size))
    ends = [0.0]
    for epoch in range(10):
        last = page.play(pace="samples", until={"samples": 2000 * (epoch + 1)})[-1]
        ends.append(1000 * last["runs"][0]["seconds"])
    epochs = sorted(end - start for start, end in pairwise(ends))
    print(f"{network} {size}: {epochs[0]:.0f} to {epochs[-1]:.0f} ms an epoch")
    assert epochs[0] < 150
