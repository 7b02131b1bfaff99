"""What the service says of a run, read."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import PipelineJob
from google.protobuf import json_format

from tunelane_pipelines.targets.vertex.reading import job_ids_by_task, log_filter, read_run

_NAME = "projects/123456789012/locations/europe-west4/pipelineJobs/run-1"
_CREATED = "2026-01-01T03:00:00Z"


@pytest.fixture
def job(spec: dict[str, Any]) -> dict[str, Any]:
    """A job that runs, as JSON: its DAG stands in the details with a root of its own, as the service has it."""
    return {
        "name": _NAME,
        "displayName": "Train classifier",
        "state": "PIPELINE_STATE_RUNNING",
        "createTime": _CREATED,
        "labels": {"tunelane-run": "run-1", "tunelane-pipeline": "train-classifier"},
        "pipelineSpec": spec,
        "runtimeConfig": {"parameterValues": {"data": "gs://b/d.csv", "epochs": 3, "margin": 0.5}},
        "jobDetail": {
            "taskDetails": [
                {"taskId": "1", "taskName": "run-1", "state": "RUNNING"},
                {
                    "taskId": "2",
                    "parentTaskId": "1",
                    "taskName": "train",
                    "state": "SUCCEEDED",
                    "startTime": "2026-01-01T03:01:00Z",
                    "endTime": "2026-01-01T03:09:00Z",
                    "executorDetail": {"containerDetail": {"mainJob": "projects/1/locations/r/customJobs/77"}},
                },
                {"taskId": "3", "parentTaskId": "1", "taskName": "gate", "state": "RUNNING"},
            ]
        },
    }


def _read(job: dict[str, Any]) -> Any:
    message = json_format.ParseDict(job, PipelineJob.pb(PipelineJob()))
    return read_run(PipelineJob.wrap(message), "tunelane-test")


def _states(run: Any) -> dict[str, str]:
    return {task.name: task.state for task in run.tasks}


def test_a_run_is_read_whole(job: dict[str, Any]) -> None:
    run = _read(job)
    assert (run.resource, run.run_id, run.state, run.pipeline) == (_NAME, "run-1", "running", "train-classifier")
    assert run.created_at == datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert run.ended_at is None
    assert run.console_url == (
        "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/run-1?project=tunelane-test"
    )
    assert run.parameters == {"data": "gs://b/d.csv", "epochs": 3, "margin": 0.5}
    assert type(run.parameters["epochs"]) is int


def test_a_parameter_that_was_left_open_is_none(job: dict[str, Any]) -> None:
    job["runtimeConfig"]["parameterValues"]["epochs"] = None
    assert _read(job).parameters == {"data": "gs://b/d.csv", "epochs": None, "margin": 0.5}


def test_the_tasks_of_every_branch_are_there_before_the_service_speaks_of_them(job: dict[str, Any]) -> None:
    assert _states(_read(job)) == {"train": "succeeded", "gate": "running", "deploy": "pending", "report": "pending"}
    train, gate = _read(job).tasks[:2]
    assert (train.name, gate.name) == ("train", "gate"), "each stands after what it waits for"
    assert (train.started_at, train.ended_at) == (
        datetime(2026, 1, 1, 3, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 3, 9, tzinfo=UTC),
    )
    assert "job_id%3D%28%2277%22%29" in train.log_url and train.log_url.endswith("?project=tunelane-test")


def test_a_branch_that_was_not_taken_is_skipped_at_once(job: dict[str, Any]) -> None:
    job["jobDetail"]["taskDetails"] += [
        {"taskName": "condition-branches-1", "state": "RUNNING"},
        {"taskName": "condition-2", "state": "NOT_TRIGGERED"},
        {"taskName": "condition-3", "state": "RUNNING"},
    ]
    states = _states(_read(job))
    assert (states["deploy"], states["report"]) == ("skipped", "pending")


def test_what_an_ended_run_never_reached_is_skipped(job: dict[str, Any]) -> None:
    job["state"] = "PIPELINE_STATE_CANCELLED"
    job["jobDetail"]["taskDetails"][2]["state"] = "CANCELLED"
    assert _states(_read(job)) == {"train": "succeeded", "gate": "cancelled", "deploy": "skipped", "report": "skipped"}


def test_a_result_taken_from_an_earlier_run_counts_as_done(job: dict[str, Any]) -> None:
    job["jobDetail"]["taskDetails"][1]["state"] = "SKIPPED"
    assert _states(_read(job))["train"] == "succeeded"


def test_a_failed_run_says_what_its_failed_task_said(job: dict[str, Any]) -> None:
    job["state"] = "PIPELINE_STATE_FAILED"
    job["error"] = {"code": 9, "message": "The DAG failed because some tasks failed. The failed tasks are: [gate]."}
    job["jobDetail"]["taskDetails"][2] |= {"state": "FAILED", "error": {"code": 3, "message": "exit\nstatus 2"}}
    run = _read(job)
    assert (run.state, run.error) == ("failed", "gate: exit status 2")
    assert [task.error for task in run.tasks if task.name == "gate"] == ["exit\nstatus 2"]


def test_a_run_that_failed_before_its_tasks_says_its_own_words(job: dict[str, Any]) -> None:
    job["state"] = "PIPELINE_STATE_FAILED"
    job["error"] = {"code": 7, "message": "Permission denied on the bucket."}
    assert _read(job).error == "Permission denied on the bucket."


def test_the_round_of_a_loop_that_failed_is_the_one_shown(job: dict[str, Any]) -> None:
    job["jobDetail"]["taskDetails"] += [
        {"taskName": "gate", "state": "FAILED", "error": {"code": 3, "message": "second round"}},
        {"taskName": "gate", "state": "SUCCEEDED"},
    ]
    gate = next(task for task in _read(job).tasks if task.name == "gate")
    assert (gate.state, gate.error) == ("failed", "second round")


def test_a_run_of_a_schedule_has_no_run_id_of_ours(job: dict[str, Any]) -> None:
    job["name"] = f"{_NAME}-of-a-schedule"
    job["scheduleName"] = "projects/1/locations/europe-west4/schedules/5"
    run = _read(job)
    assert (run.run_id, run.schedule) == ("", job["scheduleName"])


def test_a_job_in_a_list_has_no_tasks(job: dict[str, Any]) -> None:
    run = _read({name: job[name] for name in ("name", "displayName", "state", "createTime", "labels")})
    assert (run.tasks, run.parameters, run.pipeline) == ((), {}, "train-classifier")


def test_without_its_dag_the_tasks_that_ran_containers_are_shown(job: dict[str, Any]) -> None:
    del job["pipelineSpec"]
    assert _states(_read(job)) == {"train": "succeeded"}


@pytest.mark.parametrize("state", list(PipelineJob().state.__class__.__members__))
def test_every_state_of_the_service_is_one_of_ours(state: str, job: dict[str, Any]) -> None:
    job["state"] = state
    assert _read(job).state in ("pending", "running", "succeeded", "failed", "cancelled")


def test_failed_tries_of_a_task_are_read_too(job: dict[str, Any]) -> None:
    job["jobDetail"]["taskDetails"][1]["executorDetail"] = {
        "containerDetail": {
            "mainJob": "projects/1/locations/r/customJobs/79",
            "failedMainJobs": ["projects/1/locations/r/customJobs/77", "projects/1/locations/r/customJobs/78"],
        }
    }
    message = PipelineJob.wrap(json_format.ParseDict(job, PipelineJob.pb(PipelineJob())))
    assert job_ids_by_task(message) == {"train": ["77", "78", "79"]}


def test_a_job_that_a_task_launched_is_read_after_its_own(job: dict[str, Any]) -> None:
    uri = "https://europe-west4-aiplatform.googleapis.com/v1/projects/1/locations/europe-west4/customJobs/80"
    resources = [{"resourceType": "CustomJob", "resourceUri": uri}, {"resourceType": "Model", "resourceUri": "other/5"}]
    train = job["jobDetail"]["taskDetails"][1]
    train["execution"] = {"metadata": {"output:gcp_resources": json.dumps({"resources": resources})}}
    message = PipelineJob.wrap(json_format.ParseDict(job, PipelineJob.pb(PipelineJob())))
    assert job_ids_by_task(message) == {"train": ["77", "80"]}


@pytest.mark.parametrize(
    "given",
    ["", "{", "[]", "null", 3.0, '{"resources": 3}', '{"resources": ["80"]}', '{"resources": [{"resourceType": 1}]}'],
)
def test_what_a_task_launched_is_left_out_where_it_cannot_be_read(given: object, job: dict[str, Any]) -> None:
    job["jobDetail"]["taskDetails"][1]["execution"] = {"metadata": {"output:gcp_resources": given}}
    assert "job_id%3D%28%2277%22%29" in _read(job).tasks[0].log_url


def test_one_query_asks_for_all_custom_jobs() -> None:
    assert log_filter(["77", "78"]) == 'resource.type="ml_job" AND resource.labels.job_id=("77" OR "78")'
