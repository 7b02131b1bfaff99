"""Records to draw: a whole run's, and the ways in which it could have gone otherwise."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tests.pipelines.service import FakeClock, Service
from tunelane_pipelines.runs.record import Progress, RunRecord, TaskRecord
from tunelane_pipelines.submitting.sending import submit_run
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.contract import read

_GOLDEN = Path(__file__).parents[1] / "runs" / "golden" / "run_v1.json"


def task_of(record: RunRecord, name: str) -> TaskRecord:
    """The task of that name."""
    found = record.task(name)
    assert found is not None
    return found


@pytest.fixture
def promoted() -> RunRecord:
    """A run that made the first champion."""
    return read(_GOLDEN, RunRecord)


@pytest.fixture
def rejected(promoted: RunRecord) -> RunRecord:
    """A run that met a champion and lost."""
    gate = task_of(promoted, "gate-model")
    gate.outputs = {"Output": "reject"}
    said = {"decision": "reject", "sentence": "The two answer alike on every row; a tie never promotes."}
    gate.artifacts = tuple(
        msgspec.structs.replace(artifact, metadata=said) if artifact.name == "verdict" else artifact
        for artifact in gate.artifacts
    )
    task_of(promoted, "evaluate-model").metrics |= {
        "champion_macro_f1": 0.9,
        "champion_delta": -0.0144,
        "champion_delta_lower": -0.03,
        "champion_delta_upper": 0.001,
    }
    for task in promoted.tasks:
        if task.branch == "promote":
            task.state = "skipped"
    task_of(promoted, "report-verdict").state = "succeeded"
    return promoted


@pytest.fixture
def converted(promoted: RunRecord) -> RunRecord:
    """A conversion: neither evaluation nor gate."""
    names = ("build-dataset", "export-onnx", "validate-parity")
    promoted.pipeline = "convert"
    promoted.parameters = {"checkpoint": "/data/model", "data": "/data/rows.csv", "taxonomy": ""}
    first = TaskRecord("import-checkpoint", "Import checkpoint", "import_checkpoint", state="succeeded", wall_s=1.0)
    promoted.tasks = (first, *(task_of(promoted, name) for name in names))
    return promoted


@pytest.fixture
def training(promoted: RunRecord) -> RunRecord:
    """A run in the midst of its training, 30 s after its start."""
    promoted.state = "running"
    promoted.overhead = None
    is_past = True
    for task in promoted.tasks:
        if task.name == "train-lora":
            task.state, task.progress = "running", Progress(30, 74, 0.512, 61.0, 0.812)
            task.last_line = "step 30/74 loss 0.512, about 61 s left"
            is_past = False
        elif not is_past:
            task.state, task.wall_s, task.last_line, task.started_at = "pending", 0.0, "", None
    return promoted


@pytest.fixture
def now(promoted: RunRecord) -> datetime:
    """30 s after the start."""
    return promoted.started_at.astimezone(UTC) + timedelta(seconds=30)


@pytest.fixture
def ended(training: RunRecord) -> Callable[[str], RunRecord]:
    """Give what ends the training run as "failed" or "interrupted"."""

    def end(state: str) -> RunRecord:
        training.wall_s = 40.0
        if state == "failed":
            task_of(training, "train-lora").error = "torch.OutOfMemoryError: no memory left for 12 GiB more " * 4
        training.finish(state, f"It was {state}.")  # type: ignore[arg-type]
        return training

    return end


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still while nobody sleeps."""
    return FakeClock()


@pytest.fixture
def service(tmp_path: Path, clock: FakeClock) -> Service:
    """A service without runs."""
    return Service(tmp_path / "service.json", clock)


@pytest.fixture
def submitted(tmp_path: Path, service: Service, clock: FakeClock) -> RunRecord:
    """A run that was sent to the service."""
    submission = Submission("remote-1", "train-classifier", "Train classifier", {}, {"model_name": "tickets"})
    return submit_run(submission, tmp_path, service, clock, command="")
