"""A run on its way to a service: journalled before anything is sent, and never sent twice.

Every end is one of three: the service has the run and the journal says so; nothing was sent and nothing is left; or
whether the service has it is not known, and the run needs a resume.
"""

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.local.worker import write_parameters
from tunelane_pipelines.runs.finding import unclear
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.masking import mask, mask_values
from tunelane_pipelines.runs.reconciling import Opener, recorded
from tunelane_pipelines.runs.record import LOCK, RunRecord, read_record, write_record
from tunelane_pipelines.runs.remote import tasks_of, update
from tunelane_pipelines.runs.surroundings import machine, versions
from tunelane_pipelines.submitting.kept import read_submission, write_submission
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import ServiceAway, reason
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteRun, RemoteTarget, Submission
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked, locked_if_free


class NeedsResume(TunelaneError):
    """Whether a run started is not known."""


def submit_run(submission: Submission, root: Path, target: RemoteTarget, clock: Clock, *, command: str) -> RunRecord:
    """Journal a run and start it on a service; gives its record, which is in the run's directory.

    Args:
        submission: what is sent.
        root: where runs lie; made if missing.
        target: the service.
        clock: what pauses go by.
        command: what was typed, for the record.

    Raises:
        InputError: the root cannot be used, or the service finds the request wrong; nothing of the run is left then.
        ServiceAway: the service did not answer before anything was sent; nothing of the run is left then.
        NeedsResume: the service did not answer after that.
    """
    journal = Journal(root.absolute())
    record = _new_record(submission, target.name, clock.now(), command)
    directory = _make_run_directory(journal.place(record.run_id), root)
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
            run = _send(target, submission, clock)
        except NeedsResume as error:
            _leave_open(journal, directory, record, str(error))
            raise
        except TunelaneError:
            _leave_nothing(journal, directory)
            raise
        except BaseException:
            _leave_open(journal, directory, record, unclear("The submission was cut short.", record.run_id))
            raise
        return _started(journal, directory, record, run, clock)


def resume_run(entry: Entry, opener: Opener, clock: Clock) -> RunRecord:
    """Go on with a run whose submission was cut short: find it at the service, else send it. May be done again.

    A run that is on its way or has ended is given as it is.

    Raises:
        InputError: it is a local run; another command is submitting it; or the service finds the request wrong, and the
            run stays as it is.
        NeedsResume: the service still does not answer.
        ServiceAway: it did not answer before anything was sent.
        ContractError: the run's directory has no submission.
    """
    if not entry.is_remote:
        raise InputError(
            f"{entry.run_id} ran on this machine. Run it again: tunelane runs show {entry.run_id} says how."
        )
    if entry.state not in ("submitting", "needs-resume"):
        return recorded(entry)
    directory = Path(entry.place)
    journal = Journal(directory.parent.parent)
    with locked_if_free(directory / LOCK) as is_free:
        if not is_free:
            raise InputError(f"{entry.run_id} is being submitted by another command. Watch it: tunelane runs list")
        record, submission = read_record(directory), read_submission(directory)
        target = opener(entry.target)
        run = retried(lambda: target.find(entry.run_id), clock)
        if run is None:
            retried(lambda: target.check(submission), clock)
            try:
                run = _send(target, submission, clock)
            except NeedsResume as error:
                _leave_open(journal, directory, record, str(error))
                raise
        return _started(journal, directory, record, run, clock)


def _send(target: RemoteTarget, submission: Submission, clock: Clock) -> RemoteRun:
    """Submit until there is an answer. A target that has the run already gives that one and starts no other.

    Raises:
        NeedsResume: there was no answer, or a no after an attempt whose reply was lost.
        TunelaneError: the answer is no, and nothing can have been started.
    """
    was_lost = False

    def attempt() -> RemoteRun:
        nonlocal was_lost
        try:
            # Looked for first: what was lost is the reply, perhaps, and not the run.
            found = target.find(submission.run_id) if was_lost else None
            return found or target.submit(submission)
        except ServiceAway as error:
            was_lost = was_lost or error.is_reply_lost
            raise

    try:
        return retried(attempt, clock)
    except ServiceAway as error:
        raise NeedsResume(unclear(f"{target.name}: {reason(error)}", submission.run_id)) from error
    except TunelaneError as error:
        if not was_lost:
            raise
        raise NeedsResume(unclear(f"{target.name}: {reason(error)}", submission.run_id)) from error


def _started(journal: Journal, directory: Path, record: RunRecord, run: RemoteRun, clock: Clock) -> RunRecord:
    update(record, run, clock.now())
    write_record(directory, record)
    journal.enter(record, str(directory))
    return record


def _leave_open(journal: Journal, directory: Path, record: RunRecord, why: str) -> None:
    record.state, record.error = "needs-resume", mask(why)
    write_record(directory, record)
    journal.enter(record, str(directory))


def _leave_nothing(journal: Journal, directory: Path) -> None:
    journal.forget(directory.name)
    shutil.rmtree(directory, ignore_errors=True)


def _new_record(submission: Submission, target: str, now: datetime, command: str) -> RunRecord:
    dag = read_dag(load_pipeline(submission.pipeline))
    return RunRecord(
        run_id=submission.run_id,
        pipeline=submission.pipeline,
        display_name=submission.display_name,
        target=target,
        started_at=now,
        command=mask(command).encode(errors="backslashreplace").decode(),
        parameters=mask_values(submission.parameters),
        versions=versions(),
        machine=machine(),
        tasks=tasks_of(dag.tasks),
        state="submitting",
    )


def _make_run_directory(directory: Path, root: Path) -> Path:
    try:
        directory.mkdir(parents=True)
        # A directory can exist and still refuse files (read-only mounts, quotas).
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(f"Cannot write to the root {root}: {error.strerror}. Choose another with --root.") from error
    return directory
