"""What the API gives, read: every state, times that have not come, descriptions by others."""

from datetime import UTC, datetime
from typing import Any, get_args

import kfp_server_api as models
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_pipelines.targets.kubeflow.reading import read_marks, run_of, written_marks
from tunelane_pipelines.targets.target import RemoteState, TaskState

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_SPEC = {
    "pipelineInfo": {"name": "p"},
    "root": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}}}}},
    "components": {"comp-a": {"executorLabel": "exec-a"}},
}


def _run(state: str, task_state: str = "", **fields: Any) -> Any:
    task = models.V2beta1PipelineTaskDetail(task_id="1", display_name="a", state=task_state, end_time=_NEVER)
    details = models.V2beta1RunDetails(task_details=[task] if task_state else None)
    known = {"run_id": "id", "display_name": "run", "pipeline_spec": _SPEC}
    return models.V2beta1Run(**known, state=state, finished_at=_NEVER, run_details=details, **fields)


@pytest.mark.parametrize("state", models.V2beta1RuntimeState.allowable_values)
def test_every_state_of_the_api_is_one_of_ours(state: str) -> None:
    run = run_of(_run(state, state), "http://h", "")
    assert run.state in get_args(RemoteState)
    assert run.tasks[0].state in get_args(TaskState)
    assert run.ended_at is None
    assert run.tasks[0].ended_at is None


def test_a_run_of_somebody_else_s_has_no_run_id() -> None:
    assert run_of(_run("RUNNING"), "http://h", "").run_id == ""
    assert run_of(_run("RUNNING", description="x\ntunelane-run=other"), "http://h", "").run_id == ""
    assert run_of(_run("RUNNING", description="x\ntunelane-run=run"), "http://h", "").run_id == "run"


def test_a_run_without_a_spec_or_details_can_be_read() -> None:
    run = run_of(models.V2beta1Run(run_id="id", display_name="run"), "http://h", "")
    assert (run.pipeline, run.tasks, run.parameters) == ("", (), {})


def test_the_message_of_an_earlier_state_is_kept() -> None:
    error = models.GoogleRpcStatus(code=2, message="OOMKilled")
    run = _run("FAILED", "FAILED")
    run.run_details.task_details[0].state_history = [models.V2beta1RuntimeStatus(state="FAILED", error=error)]
    assert run_of(run, "http://h", "").error == "a: OOMKilled"


_WORD = st.text(st.characters(categories=("L", "N", "P")), min_size=1).filter(lambda word: "=" not in word)


@given(title=_WORD, marks=st.dictionaries(_WORD, st.text(st.characters(categories=("L", "N", "P")))))
def test_marks_are_read_as_they_were_written(title: str, marks: dict[str, str]) -> None:
    assert read_marks(written_marks(title, marks)) == marks


@given(st.none() | st.text())
def test_any_description_can_be_read(description: str | None) -> None:
    read_marks(description)
