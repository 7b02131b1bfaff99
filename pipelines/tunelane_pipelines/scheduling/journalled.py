"""A schedule's changes: each is journalled before it is begun and settled when it has been seen to end.

So a command that is killed, or whose answer is lost, leaves a schedule that needs to be resumed: `carry_on` does the
same again. That is safe, since every verb of a keeper but one may be carried out twice. A service takes no id of ours
for a schedule, and would make a second one of a request that comes again. So a lost creation is looked for, and sent
again only when the first must have arrived or be lost.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.quiet import QUIET_TIME
from tunelane_pipelines.scheduling.keeper import Keeper
from tunelane_pipelines.scheduling.record import ScheduleRecord, Verb, as_seen
from tunelane_pipelines.scheduling.recurrence import is_over
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import ServiceAway, reason
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule, Submission
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked

_OF_SEVERAL_CALLS = ("update", "delete")


class NeedsResume(TunelaneError):
    """It is not known whether a change was carried out; the message has the command that settles it."""


@dataclass(frozen=True)
class Schedules:
    """The schedules below a root, and the one keeper that the changes go to.

    `profile` is the one in force: a command that is advised names it.
    """

    store: ScheduleStore
    keeper: Keeper
    clock: Clock
    profile: Path | None = None

    def create(self, record: ScheduleRecord, submission: Submission | None = None) -> ScheduleRecord:
        """Make a schedule.

        Raises:
            InputError: there is one of that name.
            NeedsResume: it is not known whether it was made.
            TunelaneError: it was not made, and nothing is left of it.
        """
        with locked(self.store.lock(record.name)):
            self.store.add(replace(record, pending="create"), submission)
            return self._carry_out(record.name, is_first=True)

    def pause(self, name: str) -> ScheduleRecord:
        """Start no more runs; as `create` of errors, and nothing is changed where it was not carried out."""
        return self._begin(name, "pause")

    def resume(self, name: str, *, catch_up: bool) -> ScheduleRecord:
        """Start runs again, with what fell due meanwhile where `catch_up` says so.

        Raises:
            InputError: besides, it is a schedule of this machine that starts no more runs.
        """
        record = self.store.record(name)
        if record.starter and not record.pending and is_over(record.recurrence, record.started_runs, self.clock.now()):
            update = again(f"schedule update {name}", self.store.root, self.profile)
            raise InputError(f"Schedule {name} has started its last run. Change --max-runs or --ends-at: {update}")
        return self._begin(name, "resume", catch_up=catch_up)

    def update(self, name: str, recurrence: Recurrence) -> ScheduleRecord:
        """Start runs at other times."""
        return self._begin(name, "update", recurrence=recurrence)

    def delete(self, name: str) -> ScheduleRecord:
        """Take a schedule away, also one of which something is pending; its runs stay."""
        return self._begin(name, "delete")

    def carry_on(self, name: str) -> ScheduleRecord:
        """Do again what is pending; nothing where nothing is."""
        self.store.record(name)
        with locked(self.store.lock(name)):
            record = self.store.record(name)
            return self._carry_out(name, is_first=False) if record.pending else record

    def _begin(
        self, name: str, verb: Verb, *, recurrence: Recurrence | None = None, catch_up: bool = False
    ) -> ScheduleRecord:
        # A name that is none of ours must not become a directory.
        self.store.record(name)
        with locked(self.store.lock(name)):
            was_pending = self.store.record(name).pending
            if was_pending and verb != "delete":
                raise InputError(f"Schedule {name} needs to be resumed first: {self._continue(name)}")
            self.store.change(
                name,
                lambda record: replace(
                    record, pending=verb, pending_recurrence=recurrence, pending_catch_up=catch_up, error=""
                ),
            )
            return self._carry_out(name, is_first=not was_pending)

    def _carry_out(self, name: str, *, is_first: bool) -> ScheduleRecord:
        """Do what is pending, and settle it.

        Args:
            name: of the schedule.
            is_first: nothing can have been done yet; a clear no leaves everything as it was then.
        """
        pending = self.store.record(name)
        may_be_done = not is_first

        def attempt() -> RemoteSchedule | None:
            nonlocal may_be_done
            try:
                return self._do(pending)
            except ServiceAway as error:
                # What may be done twice says nothing of lost replies: it may have been carried out.
                may_be_done = may_be_done or error.is_reply_lost or pending.pending != "create"
                raise

        try:
            seen = retried(attempt, self.clock)
        except TunelaneError as error:
            is_away = isinstance(error, ServiceAway)
            if not self._is_undone(pending, may_be_done=may_be_done, is_away=is_away):
                said = reason(error)
                self.store.change(name, lambda record: replace(record, error=said))
                raise NeedsResume(
                    f"It is not known whether schedule {name} was {pending.pending}d: {said.rstrip('.')}. "
                    f"Go on with: {self._continue(name)}"
                ) from error
            self._roll_back(pending)
            raise
        if pending.pending == "delete":
            self.store.forget(name)
            return pending
        return self.store.change(name, partial(_settled, seen=seen, now=self.clock.now()))

    def _do(self, record: ScheduleRecord) -> RemoteSchedule | None:
        if record.pending == "create":
            return self._create(record.name)
        if record.pending == "update" and record.pending_recurrence is not None:
            return self.keeper.update(record, record.pending_recurrence)
        if record.pending == "pause":
            self.keeper.pause(record)
        elif record.pending == "resume":
            self.keeper.resume(record, catch_up=record.pending_catch_up)
        elif record.pending == "delete":
            self._delete(record)
        return None

    def _create(self, name: str) -> RemoteSchedule | None:
        """Make a schedule; what an earlier request made is found instead.

        Raises:
            ServiceAway: an earlier request may still arrive; or as the keeper.
        """
        record = self.store.record(name)
        if record.starter:
            return self.keeper.create(record)
        if made := self._found(record):
            return made
        self.store.change(name, lambda fresh: replace(fresh, sent_at=self.clock.now()))
        try:
            return self.keeper.create(record)
        except TunelaneError as error:
            if not (isinstance(error, ServiceAway) and error.is_reply_lost):
                # This request will not arrive; an earlier one was waited for.
                self.store.change(name, lambda fresh: replace(fresh, sent_at=record.sent_at))
            raise

    def _delete(self, record: ScheduleRecord) -> None:
        """Take a schedule away; one whose making is not known to have ended once that is known."""
        if record.resource or record.starter:
            self.keeper.delete(record)
        elif made := self._found(record):
            self.keeper.delete(replace(record, resource=made.resource))

    def _found(self, record: ScheduleRecord) -> RemoteSchedule | None:
        """Give what came of a request to make it that was sent earlier; None where nothing did or will.

        Raises:
            ServiceAway: it may still arrive; or the keeper cannot be asked.
        """
        if record.sent_at is None:
            return None
        made = self.keeper.made(record)
        until = record.sent_at + QUIET_TIME
        if made is None and self.clock.now() < until:
            raise ServiceAway(
                f"{record.service or record.target} has not got it yet, and it may still arrive until "
                f"{until:%H:%M} UTC. Wait until then.",
                is_reply_lost=True,
            )
        return made

    def _is_undone(self, pending: ScheduleRecord, *, may_be_done: bool, is_away: bool) -> bool:
        """Whether a change that failed left everything as it was.

        The last call of a change decides over it, where it is not one of several that each change something. Where that
        is not enough to know, a look tells; not so while a lost request may still be on its way.
        """
        if pending.pending == "create" and not pending.starter:
            return self.store.record(pending.name).sent_at is None
        if pending.pending == "create" or (may_be_done and is_away):
            return not may_be_done
        if pending.pending not in _OF_SEVERAL_CALLS and not may_be_done:
            return True
        return self.keeper.is_unchanged(pending)

    def _roll_back(self, pending: ScheduleRecord) -> None:
        if pending.pending == "create":
            self.store.forget(pending.name)
        else:
            self.store.change(pending.name, lambda record: replace(record, pending="", pending_recurrence=None))

    def _continue(self, name: str) -> str:
        return again(f"schedule continue {name}", self.store.root, self.profile)


def _settled(record: ScheduleRecord, seen: RemoteSchedule | None, now: datetime) -> ScheduleRecord:
    """Give a record with its pending change carried out; what its runs wrote into it meanwhile stays."""
    done = record
    if record.pending == "pause":
        done = replace(done, state="paused")
    elif record.pending == "resume":
        # What fell due meanwhile counts as settled, unless it is to be caught up with.
        settled = record.settled_until if record.pending_catch_up else now
        done = replace(done, state="active", settled_until=settled)
    elif record.pending == "update" and record.pending_recurrence is not None:
        done = replace(done, recurrence=record.pending_recurrence, settled_until=now)
        if record.starter and record.state != "paused":
            over = is_over(done.recurrence, record.started_runs, now)
            done = replace(done, state="completed" if over else "active")
    if seen is not None:
        done = as_seen(done, seen)
    return replace(done, pending="", pending_recurrence=None, sent_at=None, error="")
