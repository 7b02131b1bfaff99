"""A run that waits, so that a test can end it as it likes."""

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.pipelines.local.blocked import COMMAND, URI, Blocked


@pytest.fixture
def start_blocked(tmp_path: Path) -> Iterator[Callable[..., Blocked]]:
    """Give what starts such a run, once, with more options for Popen and more environment."""
    started: list[Blocked] = []

    def start(*, env: dict[str, str] | None = None, **options: object) -> Blocked:
        token = uuid.uuid4().hex
        data, scratch = tmp_path / "data.csv", tmp_path / "scratch"
        os.mkfifo(data)
        scratch.mkdir()
        (tmp_path / "encoder").mkdir()
        process = subprocess.Popen(
            [
                *(*COMMAND, "run", "train-classifier", "--root", str(tmp_path / "root")),
                *("--set", f"data={data}", "--set", f"base_model={tmp_path}/encoder"),
                *("--set", f"text_field={URI}"),
            ],
            text=True,
            # Its own session, so that a signal reaches the command line alone, as from a supervisor.
            start_new_session=True,
            env={**os.environ, "TUNELANE_TEST_TOKEN": token, "TMPDIR": str(scratch), **(env or {})},
            **options,  # type: ignore[call-overload]
        )
        started.append(Blocked(process, tmp_path / "root", scratch, token))
        return started[0]

    yield start
    for run in started:
        for pid in run.alive():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)
        run.process.communicate()


@pytest.fixture
def blocked(start_blocked: Callable[..., Blocked]) -> Blocked:
    """A run that waits, and prints into pipes."""
    run = start_blocked(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.process.stdout is not None
    assert any("▸ build-dataset" in line for line in run.process.stdout)
    run.wait_for_task()
    return run
