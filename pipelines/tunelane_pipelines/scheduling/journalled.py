"""A schedule's changes: each is journalled before it is begun and settled when it has been seen to end.

So a command that is killed, or whose answer is lost, leaves a schedule that needs to be resumed: `carry_on` does the
same again, which is safe, since every verb of a keeper may be carried out twice.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from tunelane_pipelines.scheduling.keeper import Keeper
from tunelane_pipelines.scheduling.record import ScheduleRecord, Verb
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import ServiceAway, reason
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import Recurrence, Submission
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked

_OF_SEVERAL_CALLS = ("update", "delete")


class NeedsResume(TunelaneError):
    """It is not known whether a change was carried out; the message has the command that settles it."""


@dataclass(frozen=True)
class Schedules:
    """The schedules below a root, and the one keeper that the changes go to."""

    store: ScheduleStore
    keeper: Keeper
    clock: Clock

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
        """Start runs again, with what fell due meanwhile where `catch_up` says so."""
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
                raise InputError(f"Schedule {name} needs to be resumed first: tunelane schedule continue {name}")
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

        def attempt() -> ScheduleRecord:
            nonlocal may_be_done
            try:
                return self._do(pending)
            except ServiceAway as error:
                may_be_done = may_be_done or error.is_reply_lost
                raise

        try:
            done = retried(attempt, self.clock)
        except TunelaneError as error:
            is_away = isinstance(error, ServiceAway)
            if not self._is_undone(pending, may_be_done=may_be_done, is_away=is_away):
                said = reason(error)
                self.store.change(name, lambda record: replace(record, error=said))
                raise NeedsResume(
                    f"It is not known whether schedule {name} was {pending.pending}d: {said.rstrip('.')}. "
                    f"Go on with: tunelane schedule continue {name}"
                ) from error
            self._roll_back(pending)
            raise
        if pending.pending == "delete":
            self.store.forget(name)
            return done
        return self.store.change(name, lambda record: _settled(record, done))

    def _do(self, record: ScheduleRecord) -> ScheduleRecord:
        if record.pending == "create":
            return self.keeper.create(record)
        if record.pending == "update" and record.pending_recurrence is not None:
            done = self.keeper.update(record, record.pending_recurrence)
            return replace(done, recurrence=record.pending_recurrence, settled_until=self.clock.now())
        if record.pending == "pause":
            self.keeper.pause(record)
            return replace(record, state="paused")
        if record.pending == "resume":
            self.keeper.resume(record, catch_up=record.pending_catch_up)
            # What fell due meanwhile counts as settled, unless it is to be caught up with.
            settled = record.settled_until if record.pending_catch_up else self.clock.now()
            return replace(record, state="active", settled_until=settled)
        self.keeper.delete(record)
        return record

    def _is_undone(self, pending: ScheduleRecord, *, may_be_done: bool, is_away: bool) -> bool:
        """Whether a change that failed left everything as it was.

        The last call of a change decides over it, where it is not one of several that each change something. Where that
        is not enough to know, a look tells; not so while a lost request may still be on its way.
        """
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


def _settled(record: ScheduleRecord, done: ScheduleRecord) -> ScheduleRecord:
    """Give a record with what came of its change; what its runs wrote into it meanwhile stays."""
    return replace(
        record,
        state=done.state,
        recurrence=done.recurrence,
        resource=done.resource,
        console_url=done.console_url,
        settled_until=done.settled_until,
        pending="",
        pending_recurrence=None,
        error="",
    )
