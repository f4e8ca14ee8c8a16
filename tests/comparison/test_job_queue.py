"""The desk on which the ranks of a comparison find jobs; here one has it for itself."""

from mnist_cli.comparison.events import Change
from mnist_cli.comparison.job_queue import Desk, Found, Job
from mnist_cli.runtime.distributed.group import ProcessGroup

JOBS = [Job(16, 0, 0.1), Job(None, 0, 0.1), Job(16, 0, 0.1, is_search=True)]


def test_every_job_is_taken_once_in_order() -> None:
    group = ProcessGroup()
    first, other = Desk(group), Desk(group)
    assert other.look() is None
    first.lay_out(JOBS)
    assert other.look() == JOBS
    takers = [first, other, other, first, other]
    assert [desk.take() for desk in takers] == [*JOBS, None, None]


def test_a_round_begins_anew_and_one_without_jobs_is_told_from_none() -> None:
    group = ProcessGroup()
    first, other = Desk(group), Desk(group)
    for jobs in (JOBS[:1], JOBS[1:], []):
        first.lay_out(jobs)
        assert other.look() == jobs
        assert [other.take() for _ in (*jobs, None)] == [*jobs, None]
    assert other.look() is None


def test_reports_are_read_once_in_order_as_they_were() -> None:
    group = ProcessGroup()
    first, other = Desk(group), Desk(group)
    record = [Change(1.5, "16-seed0", 3, before=2.25, after=float("inf"))]
    told = [Found(record, is_fresh=True), JOBS[1], Found([], is_fresh=False), JOBS[2]]
    for report in told:
        other.report(report)  # type: ignore[arg-type]
    assert list(first.reports()) == told
    assert list(first.reports()) == []
