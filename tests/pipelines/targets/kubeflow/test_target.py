"""Runs on Kubeflow by the real kfp.Client, from submission to end, against an installation on loopback."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cloud.kubeflow.faults import Fault
from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.errors import NotAllowed, Refused, ServiceAway
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Recurrence, RemoteTarget, Submission

OpenTarget = Callable[..., KubeflowTarget]

_TOKEN = "open-sesame"  # noqa: S105 - the fake's


def test_a_run_goes_from_pending_over_running_to_succeeded(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    submitted = target.submit(convert)
    assert (submitted.state, submitted.run_id, submitted.pipeline) == ("pending", convert.run_id, "convert")
    assert submitted.display_name == "Convert the finished model"
    assert submitted.console_url == f"{fake.host}/#/runs/details/{submitted.resource}"
    assert submitted.parameters == convert.parameters

    fake.start(submitted.resource)
    fake.task(submitted.resource, "build-dataset", "RUNNING")
    running = target.get(submitted.resource)
    assert [task.name for task in running.tasks] == ["build-dataset", "export-onnx"]
    assert (running.state, running.ended_at, running.error) == ("running", None, "")
    states = {task.name: task.state for task in running.tasks}
    assert states.pop("build-dataset") == "running"
    assert set(states.values()) == {"pending"}

    fake.clock.advance(timedelta(minutes=3))
    for task in running.tasks:
        fake.task(submitted.resource, task.name, "SUCCEEDED")
    fake.end(submitted.resource, "SUCCEEDED")
    ended = target.get(submitted.resource)
    assert ended.state == "succeeded"
    assert ended.ended_at == fake.clock.now()
    built = next(task for task in ended.tasks if task.name == "build-dataset")
    assert built.started_at is not None
    assert built.ended_at == built.started_at + timedelta(minutes=3)
    assert {task.state for task in ended.tasks} == {"succeeded"}


def test_a_failed_run_shows_the_failed_task_s_message(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    resource = target.submit(convert).resource
    fake.start(resource)
    fake.task(resource, "build-dataset", "FAILED", "12 rows are too few: give at least 50.")
    fake.end(resource, "FAILED")
    run = target.get(resource)
    assert run.state == "failed"
    assert run.error == "build-dataset: 12 rows are too few: give at least 50."
    states = {task.name: task.state for task in run.tasks}
    assert states.pop("build-dataset") == "failed"
    assert set(states.values()) == {"skipped"}


def test_a_failure_without_a_reason_names_the_command_that_shows_it(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    resource = target.submit(convert).resource
    fake.task(resource, "build-dataset", "FAILED")
    fake.end(resource, "FAILED")
    error = next(task.error for task in target.get(resource).tasks if task.state == "failed")
    assert f"kubectl logs --namespace kubeflow --selector pipeline/runid={resource} " in error


def test_a_run_that_could_not_begin_shows_the_service_s_words(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    resource = target.submit(convert).resource
    fake.end(resource, "FAILED", "the workflow is too large")
    assert target.get(resource).error == "the workflow is too large"


def test_a_cancelled_run_is_running_until_it_has_stopped(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    resource = target.submit(convert).resource
    fake.start(resource)
    target.cancel(resource)
    assert target.get(resource).state == "running"
    target.cancel(resource)
    fake.end(resource, "CANCELED")
    assert target.get(resource).state == "cancelled"


def test_nothing_happens_where_a_run_that_has_ended_is_cancelled(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    resource = target.submit(convert).resource
    fake.end(resource, "SUCCEEDED")
    target.cancel(resource)
    assert target.get(resource).state == "succeeded"
    assert not fake.named("terminate_run")


def test_a_second_submission_of_the_same_run_starts_nothing(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, another: Submission
) -> None:
    first = target.submit(convert)
    assert target.submit(convert) == first
    assert target.submit(another).resource != first.resource
    assert len(fake.runs) == 2
    assert len(fake.experiments) == 1


def test_a_lost_reply_starts_no_second_run(fake: FakeKubeflow, target: KubeflowTarget, convert: Submission) -> None:
    target.submit(replace(convert, run_id="before"))
    fake.calls.clear()
    target.submit(replace(convert, run_id="between"))
    position = [call.operation for call in fake.calls].index("create_run")
    fake.calls.clear()
    fake.faults = {position: "reply-lost"}
    with pytest.raises(ServiceAway) as raised:
        target.submit(convert)
    assert raised.value.is_reply_lost
    assert target.submit(convert).run_id == convert.run_id
    assert [run["display_name"] for run in fake.runs.values()].count(convert.run_id) == 1


def test_a_run_is_found_by_its_id_alone(fake: FakeKubeflow, target: KubeflowTarget, convert: Submission) -> None:
    assert target.find(convert.run_id) is None
    submitted = target.submit(convert)
    assert target.find(convert.run_id) == submitted
    assert target.find(convert.run_id[:-1]) is None


def test_what_is_sent_is_what_the_request_shows(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    request = target.request(convert)
    assert json.loads(json.dumps(request)) == request
    target.submit(convert)
    (call,) = fake.named("create_run")
    assert call.body == {**request["run"], "experiment_id": next(iter(fake.experiments))}
    assert [call.body for call in fake.named("create_experiment")] == [request["experiment"]]
    assert request["url"].endswith("/apis/v2beta1/runs")


def test_a_request_is_made_without_kfp_and_without_a_connection() -> None:
    script = """
import socket, sys
socket.socket.connect = None
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Submission
target = KubeflowTarget(KubeflowSettings(host="https://kubeflow.example.org"))
target.request(Submission("run", "convert", "Convert", {"root": {}}, {}))
print([name for name in ("kfp", "kfp_server_api", "urllib3", "google.protobuf") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_tasks_run_as_the_service_account_that_is_set(
    fake: FakeKubeflow, open_target: OpenTarget, convert: Submission
) -> None:
    target = open_target(fake, service_account="trainer")
    assert target.request(convert)["run"]["service_account"] == "trainer"
    assert "service_account" not in open_target(fake).request(convert)["run"]
    target.submit(convert)
    made = target.create_schedule("nightly", convert, Recurrence("0 3 * * *"))
    target.update_schedule(made.resource, Recurrence("0 4 * * *"))
    fake.clock.advance(timedelta(days=1))
    assert [run["service_account"] for run in fake.runs.values()] == ["trainer", "trainer"]


def test_a_run_that_shall_go_on_after_a_failure_is_refused(target: KubeflowTarget, convert: Submission) -> None:
    with pytest.raises(Refused, match="ends a run with its first failed task"):
        target.request(replace(convert, fail_fast=False))


def test_the_pipeline_root_is_sent_where_it_is_set(
    fake: FakeKubeflow, open_target: OpenTarget, convert: Submission
) -> None:
    open_target(fake, pipeline_root="gs://bucket/root").submit(convert)
    (run,) = fake.runs.values()
    assert run["runtime_config"]["pipeline_root"] == "gs://bucket/root"


def test_runs_of_ours_are_listed_page_by_page_the_newest_first(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    target.submit(convert)
    (first,) = fake.runs.values()
    for number in range(103):
        fake.clock.advance(1)
        name = f"run-{number}"
        fake.runs[name] = {
            **first,
            "run_id": name,
            "display_name": name,
            "description": f"A title\ntunelane-run={name}",
            "created_at": fake.clock.now().isoformat(),
        }
    fake.runs["other"] = {**fake.runs["run-50"], "run_id": "other", "display_name": "Clone of run-50"}
    since = fake.clock.now() - timedelta(seconds=101)
    listed = list(target.runs(since=since))
    assert [run.run_id for run in listed] == [f"run-{number}" for number in range(102, 0, -1)]
    assert all(run.tasks == () for run in listed)


def test_the_runs_of_a_schedule_are_listed_with_it(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    since = fake.clock.now()
    schedule = target.create_schedule("nightly", convert, Recurrence("0 3 * * *"))
    fake.clock.advance(timedelta(days=1))
    (run,) = target.runs(since=since)
    assert (run.run_id, run.schedule, run.pipeline) == ("", schedule.resource, "convert")
    target.delete_schedule(schedule.resource)
    assert [run.schedule for run in target.runs(since=since)] == [schedule.resource]


def test_an_installation_with_users_wants_a_namespace_and_a_token(open_target: OpenTarget, convert: Submission) -> None:
    with FakeKubeflow(namespaces=("language",), token=_TOKEN) as fake:
        with pytest.raises(Refused, match=r"set kubeflow\.namespace"):
            open_target(fake, token=_TOKEN).check(convert)
        with pytest.raises(NotAllowed, match=r"Renew kubeflow\.token"):
            open_target(fake, namespace="language").check(convert)
        with pytest.raises(NotAllowed, match="namespace vision"):
            open_target(fake, namespace="vision", token=_TOKEN).check(convert)
        target = open_target(fake, namespace="language", token=_TOKEN)
        target.check(convert)
        run = target.submit(convert)
        assert target.find(convert.run_id) == run
        assert list(target.runs(since=fake.clock.now())) == [replace(run, tasks=())]
        assert next(iter(fake.experiments.values()))["namespace"] == "language"


def test_an_installation_without_users_wants_no_namespace(
    fake: FakeKubeflow, open_target: OpenTarget, convert: Submission
) -> None:
    with pytest.raises(Refused, match=r"leave kubeflow\.namespace empty"):
        open_target(fake, namespace="language").check(convert)
    open_target(fake).check(convert)
    assert not fake.experiments


def test_a_wrong_parameter_is_refused_in_the_service_s_words(target: KubeflowTarget, convert: Submission) -> None:
    with pytest.raises(Refused, match="refuses to create run: parameter rows is no NUMBER_INTEGER"):
        target.submit(replace(convert, parameters={**convert.parameters, "rows": "many"}))


def test_nothing_is_written_to_the_home(target: KubeflowTarget, convert: Submission, home: Path) -> None:
    target.check(convert)
    target.submit(convert)
    assert not list(home.iterdir())


def test_it_is_a_remote_target(fake: FakeKubeflow) -> None:
    target: RemoteTarget = KubeflowTarget(KubeflowSettings(host=fake.host))
    assert target.name == "kubeflow"
    assert (target.service, target.takes_run_id) == (f"kubeflow {fake.host.removeprefix('http://')}", False)


def test_the_service_is_named_by_host_and_namespace() -> None:
    settings = KubeflowSettings(host="https://kubeflow.example.org/pipeline/", namespace="language")
    assert KubeflowTarget(settings).service == "kubeflow kubeflow.example.org/pipeline language"


@pytest.mark.parametrize("fault", ["reply-lost", "late", "nameless", "500", "slow"])
def test_a_call_sends_one_run_and_says_that_the_answer_was_lost(
    fault: Fault, fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    target.submit(replace(convert, run_id="before"))
    fake.calls.clear()
    # The list of runs, the list of experiments, and then the run.
    fake.faults = {2: fault}
    with pytest.raises(ServiceAway) as raised:
        target.submit(convert)
    assert raised.value.is_reply_lost
    assert len(fake.named("create_run")) == 1


def test_what_only_reads_has_lost_nothing(fake: FakeKubeflow, target: KubeflowTarget, convert: Submission) -> None:
    for number in range(2):
        fake.calls.clear()
        fake.faults = {number: "reply-lost"}
        with pytest.raises(ServiceAway) as raised:
            target.submit(convert)
        assert not raised.value.is_reply_lost
        assert not fake.named("create_run")
