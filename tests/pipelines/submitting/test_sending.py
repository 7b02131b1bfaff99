"""A run on its way to a service: journalled before it is sent, sent once, and left open or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.service import FakeClock, Service, away, silent_from
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.record import PARAMETERS, read_record
from tunelane_pipelines.submitting.kept import read_submission
from tunelane_pipelines.submitting.sending import NeedsResume, submit_run
from tunelane_pipelines.targets.errors import NotAllowed, Refused, ServiceAway
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import InputError, TunelaneError

_ID = "train-classifier-1"


def test_a_run_is_recorded_journalled_and_sent_once(
    submit: Callable[[], object], submission: Submission, root: Path, service: Service
) -> None:
    submit()
    (run,) = service.all_runs
    assert (run.run_id, service.calls) == (_ID, ["check", "submit"])
    (entry,) = list_runs(root)
    assert (entry.state, entry.target, entry.resource, entry.console_url) == (
        "pending",
        "vertex",
        run.resource,
        f"https://console/{_ID}",
    )
    assert entry.model == "tickets"
    directory = Path(entry.place)
    record = read_record(directory)
    assert record.remote is not None and record.remote.resource == run.resource
    assert [task.name for task in record.tasks][:2] == ["resolve-champion", "fingerprint-data"]
    assert {task.state for task in record.tasks} == {"pending"}
    assert read_submission(directory) == submission
    assert (directory / PARAMETERS).exists()


def test_the_journal_knows_of_a_run_before_the_service_does(
    submit: Callable[[], object], root: Path, service: Service
) -> None:
    states: list[str] = []
    service.step = lambda _verb, _when: states.append(list_runs(root)[0].state)
    submit()
    assert states == ["submitting"] * 4


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("times", [1, 4])
def test_a_lost_reply_starts_no_second_run(
    when: str, times: int, submit: Callable[[], object], root: Path, service: Service, clock: FakeClock
) -> None:
    service.step = away("submit", when, times=times)
    submit()
    assert len(service.all_runs) == 1
    assert list_runs(root)[0].state == "pending"
    assert service.calls.count("submit") == (1 if when == "after" else times + 1), "found by its label instead"
    assert clock.slept_s, "not hammered"


@pytest.mark.parametrize("verb", ["check", "submit"])
@pytest.mark.parametrize("error", [Refused("The spec is wrong."), NotAllowed("roles/aiplatform.user is missing.")])
def test_a_refusal_leaves_nothing(
    verb: str, error: TunelaneError, submit: Callable[[], object], root: Path, service: Service
) -> None:
    def step(verb_now: str, when: str) -> None:
        if (verb_now, when) == (verb, "before"):
            raise error

    service.step = step
    with pytest.raises(type(error), match=str(error)):
        submit()
    assert list_runs(root) == []
    assert [path.name for path in (root / "runs").iterdir()] == ["journal.db"]


def test_a_service_that_is_away_before_anything_is_sent_leaves_nothing(
    submit: Callable[[], object], root: Path, service: Service
) -> None:
    service.step = away("check", "before", times=99)
    with pytest.raises(ServiceAway):
        submit()
    assert (list_runs(root), service.calls) == ([], ["check"] * 5)


def test_a_refusal_after_a_lost_reply_is_no_proof(submit: Callable[[], object], root: Path, service: Service) -> None:
    """The first attempt started the run; at the second the token had expired."""
    lost = away("submit", "after")

    def step(verb: str, when: str) -> None:
        lost(verb, when)
        if verb == "find":
            raise NotAllowed("The token has expired.")

    service.step = step
    with pytest.raises(NeedsResume, match="The token has expired"):
        submit()
    assert list_runs(root)[0].state == "needs-resume"


def test_an_interrupt_while_it_is_sent_needs_a_resume(
    submit: Callable[[], object], root: Path, service: Service
) -> None:
    def step(verb: str, when: str) -> None:
        if (verb, when) == ("submit", "after"):
            raise KeyboardInterrupt

    service.step = step
    with pytest.raises(KeyboardInterrupt):
        submit()
    assert list_runs(root)[0].state == "needs-resume"


def test_the_profile_and_the_root_are_named_where_a_run_is_to_be_resumed(
    submission: Submission, root: Path, service: Service, clock: FakeClock, tmp_path: Path
) -> None:
    service.step = silent_from("submit", "after")
    words = rf"go on with: tunelane runs resume {_ID} --root {root} --profile {tmp_path}/prod.yaml$"
    with pytest.raises(NeedsResume, match=words):
        submit_run(submission, root, service, clock, command="", profile=tmp_path / "prod.yaml")


def test_a_service_that_takes_no_id_is_sent_a_run_once_and_then_looked_at(
    submit: Callable[[], object], root: Path, cluster: Service, clock: FakeClock
) -> None:
    cluster.step = away("submit", "before")
    with pytest.raises(NeedsResume, match="Whether the run started is not known"):
        submit()
    assert cluster.calls == ["check", "submit", *["find"] * 4]
    assert len(clock.slept_s) == 4, "with pauses"
    assert list_runs(root)[0].state == "needs-resume"


def test_a_service_that_takes_no_id_may_be_late(
    submit: Callable[[], object], root: Path, cluster: Service, clock: FakeClock
) -> None:
    lost = away("submit", "before")

    def step(verb: str, when: str) -> None:
        if verb == "find" and when == "before" and cluster.calls.count("find") == 3:
            cluster.add(cluster.new_run(_ID, "train-classifier"))
        lost(verb, when)

    cluster.step = step
    submit()
    assert len(cluster.all_runs) == 1
    assert list_runs(root)[0].state == "pending"


def test_what_was_not_lost_is_sent_again_to_a_service_that_takes_no_id(
    submit: Callable[[], object], root: Path, cluster: Service
) -> None:
    left = [1, 1]

    def step(verb: str, when: str) -> None:
        if (verb, when) == ("submit", "before") and left:
            left.pop()
            raise ServiceAway("Too many requests.")

    cluster.step = step
    submit()
    assert (cluster.calls, len(cluster.all_runs)) == (["check", "submit", "submit", "submit"], 1)


def test_a_root_that_cannot_be_written_is_named_before_anything_is_sent(
    submit: Callable[[], object], root: Path, service: Service
) -> None:
    root.write_text("a file")
    with pytest.raises(InputError, match="Cannot write to the root"):
        submit()
    assert service.calls == []
