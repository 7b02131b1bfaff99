"""A run on its way to a service: journalled before anything is sent, and never sent twice.

Every end is one of three: the service has the run and the journal says so; nothing was sent and nothing is left; or
whether the service has it is not known, and the run needs a resume.
"""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.local.worker import write_parameters
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.looking import recorded
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.runs.new import make_run_directory, new_record
from tunelane_pipelines.runs.quiet import quiet_left_min
from tunelane_pipelines.runs.record import LOCK, RunRecord, read_record, write_record
from tunelane_pipelines.runs.remote import update
from tunelane_pipelines.runs.services import Opener, opened
from tunelane_pipelines.runs.unclear import and_how_to_go_on, unclear
from tunelane_pipelines.submitting.kept import read_submission, write_submission
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import ServiceAway, reason
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteRun, RemoteTarget, Submission
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked, locked_if_free

_UNSENT = ("submitting", "needs-resume")


class NeedsResume(TunelaneError):
    """Whether a run started is not known."""


def submit_run(
    submission: Submission,
    root: Path,
    target: RemoteTarget,
    clock: Clock,
    *,
    command: str,
    profile: Path | None = None,
) -> RunRecord:
    """Journal a run and start it on a service; gives its record, which is in the run's directory.

    Args:
        submission: what is sent.
        root: where runs lie; made if missing.
        target: the service.
        clock: what pauses go by.
        command: what was typed, for the record.
        profile: the profile in force, for the commands that messages advise.

    Raises:
        InputError: the root cannot be used, or the service finds the request wrong; nothing of the run is left then.
        ServiceAway: the service did not answer before anything was sent; nothing of the run is left then.
        NeedsResume: the service did not answer after that.
    """
    journal = Journal(root.absolute())
    record = _new_record(submission, target, clock.now(), command)
    directory = make_run_directory(root, record.run_id)
    with locked(directory / LOCK):
        try:
            write_submission(directory, submission)
            write_parameters(directory, submission.parameters)
            write_record(directory, record)
            journal.enter(record, str(directory))
            retried(lambda: target.check(submission), clock)
        except BaseException:
            _leave_nothing(journal, directory)
            raise
        try:
            run = _send(target, submission, clock, _note_sent(directory, record, clock))
        except NeedsResume as error:
            raise _left_open(journal, directory, record, error, profile) from error
        except TunelaneError:
            _leave_nothing(journal, directory)
            raise
        except BaseException:
            _leave_open(journal, directory, record, unclear("The submission was cut short."))
            raise
        return _started(journal, directory, record, run, clock)


def resume_run(entry: Entry, opener: Opener, clock: Clock, *, profile: Path | None = None) -> RunRecord:
    """Go on with a run whose submission was cut short: find it at the service, else send it. May be done again.

    A run that is on its way or has ended is given as it is.

    Raises:
        Elsewhere: it belongs to another service than the settings in force name.
        InputError: it is a local run; another command is submitting it; or the service finds the request wrong, and the
            run stays as it is.
        NeedsResume: the service still does not answer; or what was sent last may still be on its way to one that would
            start a second run.
        ServiceAway: it did not answer before anything was sent.
        ContractError: the run's directory has no submission.
    """
    directory = Path(entry.place)
    root = directory.parent.parent
    if not entry.is_remote:
        show = again(f"runs show {entry.run_id}", root, profile)
        raise InputError(f"{entry.run_id} ran on this machine. Run it again: {show} says how.")
    if entry.state not in _UNSENT:
        return recorded(entry)
    journal, target = Journal(root), opened(entry, entry.run_id, opener)
    with locked_if_free(directory / LOCK) as is_free:
        if not is_free:
            watch = again("runs list", root, profile)
            raise InputError(f"{entry.run_id} is being submitted by another command. Watch it: {watch}")
        record, submission = read_record(directory), read_submission(directory)
        if record.state not in _UNSENT:
            # Another command was faster, and may have been killed before it could say so.
            journal.enter(record, entry.place)
            return record
        record.service = target.service
        run = retried(lambda: target.find(entry.run_id), clock)
        if run is None:
            _wait_for_what_was_sent(record, root, target, clock, profile)
            retried(lambda: target.check(submission), clock)
            try:
                run = _send(target, submission, clock, _note_sent(directory, record, clock))
            except NeedsResume as error:
                raise _left_open(journal, directory, record, error, profile) from error
        return _started(journal, directory, record, run, clock)


def _send(target: RemoteTarget, submission: Submission, clock: Clock, note_sent: Callable[[], None]) -> RemoteRun:
    """Submit until there is an answer.

    After a lost reply the run is looked for first. A service that takes our id gives the run that it has and starts no
    other, so that it is sent again; with any other it is only looked for, since the lost request may arrive late.

    Raises:
        NeedsResume: there was no answer, or a no after an attempt whose reply was lost; says why.
        TunelaneError: the answer is no, and nothing can have been started.
    """
    lost: ServiceAway | None = None

    def attempt() -> RemoteRun:
        nonlocal lost
        if lost is not None:
            found = target.find(submission.run_id)
            if found is not None:
                return found
            if not target.takes_run_id:
                raise lost
        note_sent()
        try:
            return target.submit(submission)
        except ServiceAway as error:
            lost = error if error.is_reply_lost else lost
            raise

    try:
        return retried(attempt, clock)
    except TunelaneError as error:
        if lost is None and not isinstance(error, ServiceAway):
            raise
        raise NeedsResume(unclear(f"{target.name}: {reason(error)}")) from error


def _wait_for_what_was_sent(
    record: RunRecord, root: Path, target: RemoteTarget, clock: Clock, profile: Path | None
) -> None:
    """Refuse to send a run again while what was sent last may still arrive, and would be a second run."""
    left_min = 0 if target.takes_run_id else quiet_left_min(record, clock.now())
    if left_min:
        lost = f"{target.service} does not have {record.run_id}, but its request may still be on its way."
        words = f"{lost} Wait {left_min} min"
        raise NeedsResume(and_how_to_go_on(words, record.run_id, root, profile))


def _note_sent(directory: Path, record: RunRecord, clock: Clock) -> Callable[[], None]:
    """What writes down that the run is sent now; before it is, so that it is true wherever the command is killed."""

    def note_sent() -> None:
        record.sent_at = clock.now()
        write_record(directory, record)

    return note_sent


def _started(journal: Journal, directory: Path, record: RunRecord, run: RemoteRun, clock: Clock) -> RunRecord:
    update(record, run, clock.now())
    write_record(directory, record)
    journal.enter(record, str(directory))
    return record


def _left_open(
    journal: Journal, directory: Path, record: RunRecord, error: NeedsResume, profile: Path | None
) -> NeedsResume:
    """Leave a run open; gives what is to be said of it."""
    _leave_open(journal, directory, record, str(error))
    return NeedsResume(and_how_to_go_on(str(error), record.run_id, directory.parent.parent, profile))


def _leave_open(journal: Journal, directory: Path, record: RunRecord, why: str) -> None:
    record.state, record.error = "needs-resume", mask(why)
    write_record(directory, record)
    journal.enter(record, str(directory))


def _leave_nothing(journal: Journal, directory: Path) -> None:
    journal.forget(directory.name)
    shutil.rmtree(directory, ignore_errors=True)


def _new_record(submission: Submission, target: RemoteTarget, now: datetime, command: str) -> RunRecord:
    record = new_record(
        submission.run_id,
        submission.pipeline,
        submission.display_name,
        target.name,
        now,
        command=command,
        parameters=submission.parameters,
        tasks=read_dag(load_pipeline(submission.pipeline)).tasks,
    )
    record.state, record.service = "submitting", target.service
    return record
