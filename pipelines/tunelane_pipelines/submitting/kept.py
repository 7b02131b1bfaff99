"""The submission itself, kept in the run's directory: a run whose reply was lost is sent again just as it was."""

import os
from pathlib import Path

import msgspec

from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import ContractError

SUBMISSION = "submission.json"


def write_submission(directory: Path, submission: Submission) -> None:
    """Write a submission into a run's directory, once; only the user may read it."""
    content = msgspec.json.encode(submission)
    handle = os.open(directory / SUBMISSION, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)


def read_submission(directory: Path) -> Submission:
    """Read what `write_submission` wrote.

    Raises:
        ContractError: there is none, or it is broken.
    """
    path = directory / SUBMISSION
    try:
        return msgspec.json.decode(path.read_bytes(), type=Submission)
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}. The run can only be submitted anew.") from error
    except msgspec.MsgspecError as error:
        raise ContractError(f"{path}: {error}. The run can only be submitted anew.") from error
