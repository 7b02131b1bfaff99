"""Changes of schedules on Vertex AI and on Kubeflow: what others change meanwhile, and every verb with every fault."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from tests.cloud.schedules.clusters import DAILY, KEY, Cluster, nightly
from tunelane_pipelines.runs.quiet import QUIET_TIME
from tunelane_pipelines.scheduling.journalled import NeedsResume, Schedules
from tunelane_pipelines.scheduling.reconciling import reconcile
from tunelane_pipelines.scheduling.service import ServiceKeeper
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import TunelaneError


def test_a_schedule_that_arrives_late_does_not_become_two(
    cluster: Cluster, schedules: Schedules, submission: Submission
) -> None:
    cluster.begin()
    schedules.create(nightly(cluster), submission)
    [late] = [fault for fault in cluster.faults() if cluster.is_late(fault)]
    schedules.delete("nightly")
    for waits in (timedelta(0), QUIET_TIME):
        cluster.reset()
        cluster.begin()
        cluster.show(late)
        # What is looked for a few times has arrived by then.
        with suppress(NeedsResume):
            schedules.create(nightly(cluster), submission)
        cluster.clock.advance(waits)
        schedules.carry_on("nightly")
        cluster.arrive()
        [kept] = cluster.target.schedules()
        assert (kept.run_id, kept.resource) == (KEY, schedules.store.record("nightly").resource)
        schedules.delete("nightly")
        assert list(cluster.target.schedules()) == []


def test_a_colleagues_schedule_of_the_same_name_is_left_alone(
    cluster: Cluster, schedules: Schedules, submission: Submission
) -> None:
    theirs = cluster.target.create_schedule(
        "nightly", replace(submission, run_id="nightly-20260101-040000-cd34"), DAILY
    )
    sent_at = cluster.clock.now() - QUIET_TIME
    schedules.store.add(with_fields(nightly(cluster), pending="create", sent_at=sent_at), submission)
    with pytest.raises(TunelaneError, match="There is a schedule"):
        schedules.carry_on("nightly")
    schedules.delete("nightly")
    assert [seen.resource for seen in cluster.target.schedules()] == [theirs.resource]
    assert schedules.store.records() == []


def test_what_others_did_is_put_right(cluster: Cluster, schedules: Schedules, submission: Submission) -> None:
    store = schedules.store
    made = schedules.create(nightly(cluster), submission)
    cluster.target.pause_schedule(made.resource)
    assert reconcile(store, cluster.target, cluster.clock.now())["nightly"].state == "paused"
    assert store.record("nightly").state == "paused"
    changed_elsewhere = cluster.target.update_schedule(made.resource, DAILY)
    reconcile(store, cluster.target, cluster.clock.now())
    found = store.record("nightly")
    assert (found.resource, found.recurrence.cron) == (changed_elsewhere.resource, DAILY.cron)
    cluster.target.delete_schedule(found.resource)
    reconcile(store, cluster.target, cluster.clock.now())
    assert store.record("nightly").shown_state == "gone"
    schedules.delete("nightly")
    cluster.target.create_schedule("elsewhere", submission, DAILY)
    reconcile(store, cluster.target, cluster.clock.now())
    [found] = store.records()
    assert (found.name, found.pipeline, found.state, found.recurrence.cron) == (
        "elsewhere", "small", "active", "0 3 * * MON",
    )  # fmt: skip
    schedules.pause("elsewhere")
    assert cluster.target.schedule("elsewhere").state == "paused"


_Act = Callable[[Schedules, Cluster, Submission], object]
_VERBS: dict[str, _Act] = {
    "create": lambda on, cluster, submission: on.create(nightly(cluster), submission),
    "pause": lambda on, _, __: on.pause("nightly"),
    "resume": lambda on, _, __: on.resume("nightly", catch_up=False),
    "update": lambda on, _, __: on.update("nightly", DAILY),
    "delete": lambda on, _, __: on.delete("nightly"),
}


def _agree(schedules: Schedules, cluster: Cluster) -> bool:
    """Whether the journal has what the service has, and that once."""
    # The broken connection may take the next call with it.
    seen = retried(lambda: list(cluster.target.schedules()), cluster.clock)
    kept = {(one.name, one.resource, one.state, one.recurrence.cron) for one in seen}
    ours = {(one.name, one.resource, one.state, one.recurrence.cron) for one in schedules.store.records()}
    return ours == kept


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("verb", _VERBS)
def test_after_any_fault_a_change_is_done_undone_or_needs_to_be_resumed(
    verb: str, every: int, cluster: Cluster, submission: Submission, tmp_path: Path
) -> None:
    """`every`: one fault of so many is tried, which goes through the kinds since it divides their number nowhere."""
    act = _VERBS[verb]

    def prepared(number: int) -> Schedules:
        cluster.reset()
        store = ScheduleStore(tmp_path / f"root-{number}")
        schedules = Schedules(store, ServiceKeeper(cluster.target, store), cluster.clock)
        if verb != "create":
            schedules.create(nightly(cluster), submission)
        if verb == "resume":
            schedules.pause("nightly")
        cluster.begin()
        return schedules

    act(prepared(0), cluster, submission)
    faults = cluster.faults()[::every]
    assert faults
    ends = set()
    for number, fault in enumerate(faults, 1):
        schedules = prepared(number)
        cluster.show(fault)
        error: TunelaneError | None = None
        try:
            act(schedules, cluster, submission)
        except TunelaneError as caught:
            error = caught
            assert "\n" not in str(error)
        cluster.begin()
        pending = [record for record in schedules.store.records() if record.pending]
        ends.add("needs-resume" if pending else "undone" if error else "done")
        if pending:
            assert f"tunelane schedule continue {pending[0].name}" in str(error), fault
            with suppress(TunelaneError):
                schedules.carry_on("nightly")
        if [record for record in schedules.store.records() if record.pending]:
            # It may still have been on its way.
            cluster.clock.advance(QUIET_TIME)
            with suppress(TunelaneError):
                schedules.carry_on("nightly")
        cluster.arrive()
        assert _agree(schedules, cluster), fault
        assert [record.pending for record in schedules.store.records() if record.pending] == [], fault
        if error is None or pending:
            continue
        # A clear no left everything as it was: the same can be asked for again.
        act(schedules, cluster, submission)
        assert _agree(schedules, cluster), fault
    assert every > 1 or {"done", "undone"} <= ends
