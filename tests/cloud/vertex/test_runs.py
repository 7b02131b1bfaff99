"""Runs on Vertex AI, by Google's own clients, from the first request to the end."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.faults import Kind
from tests.cloud.bench.steps import Step, failing, succeeding
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.errors import (
    NoSuchResource,
    NotAllowed,
    QuotaExceeded,
    Refused,
    ServiceAway,
    ServiceDisabled,
)
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteRun, Submission
from tunelane_pipelines.targets.vertex import jobs
from tunelane_pipelines.targets.vertex.target import VertexTarget


def _states(run: RemoteRun) -> dict[str, str]:
    return {task.name: task.state for task in run.tasks}


def test_a_run_goes_from_pending_to_done(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    bench.vertex.script(succeeding("train", "gate"))
    run = target.submit(submission)
    assert (run.state, run.run_id, _states(run)) == (
        "pending",
        submission.run_id,
        {"train": "pending", "gate": "pending"},
    )
    assert run.console_url == (
        f"https://console.cloud.google.com/vertex-ai/locations/{bench.region}/pipelines/runs/{submission.run_id}"
        f"?project={bench.project}"
    )
    shown = []
    while run.state not in ("succeeded", "failed"):
        run = target.get(run.resource)
        shown.append((run.state, *_states(run).values()))
    assert shown == [
        ("running", "pending", "pending"),
        ("running", "running", "pending"),
        ("running", "succeeded", "pending"),
        ("running", "succeeded", "running"),
        ("running", "succeeded", "succeeded"),
        ("succeeded", "succeeded", "succeeded"),
    ]
    assert run.parameters == {"n": 3}
    assert run.ended_at is not None
    assert all(task.log_url for task in run.tasks)


def test_a_failed_run_has_the_failed_tasks_message(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    message = "The replica workerpool0-0 exited with a non-zero status of 1."
    bench.vertex.script(failing("train", "gate", failed="train", message=message))
    run = target.submit(submission)
    while run.state != "failed":
        run = target.get(run.resource)
    assert run.error == f"train: {message}"
    assert _states(run) == {"train": "failed", "gate": "skipped"}


def test_a_cancelled_run_ends_cancelled(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    bench.vertex.script([Step(tasks={"train": "RUNNING"})] * 9)
    run = target.submit(submission)
    target.get(run.resource)
    target.cancel(run.resource)
    assert target.get(run.resource).state == "running", "it is on its way"
    ended = target.get(run.resource)
    assert (ended.state, _states(ended)["train"]) == ("cancelled", "cancelled")
    target.cancel(run.resource)
    assert target.get(run.resource).state == "cancelled", "a second time changes nothing"


def test_a_run_that_is_on_its_way_to_its_end_can_be_cancelled_again(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.vertex.hold()
    run = target.submit(submission)
    for _ in range(2):
        target.cancel(run.resource)
    assert target.get(run.resource).state == "running"


def test_a_run_that_has_ended_cannot_be_cancelled_any_more(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    run = target.submit(submission)
    bench.vertex.finish(submission.run_id)
    target.cancel(run.resource)
    assert target.get(run.resource).state == "succeeded"


def test_the_service_gets_what_the_dry_run_shows(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    from google.protobuf import json_format

    target.submit(submission)
    [sent] = bench.called("CreatePipelineJob")
    assert json_format.MessageToDict(sent) == target.request(submission)


def test_a_second_submission_of_a_run_starts_nothing(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    first = target.submit(submission)
    second = target.submit(submission)
    assert second.resource == first.resource
    assert len(bench.vertex.jobs()) == 1


@pytest.mark.parametrize("kind", ["reply-lost", "deadline-after", "nameless"])
def test_a_lost_reply_starts_no_second_run(
    kind: Kind, bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("CreatePipelineJob", kind)
    with pytest.raises(ServiceAway) as raised:
        target.submit(submission)
    assert raised.value.is_reply_lost
    # The broken connection may take the next call with it.
    found = retried(lambda: target.find(submission.run_id), bench.clock)
    assert found is not None
    assert target.submit(submission).resource == found.resource
    assert len(bench.vertex.jobs()) == 1


def test_a_submission_that_arrives_late_starts_no_second_run(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("CreatePipelineJob", "late")
    with pytest.raises(ServiceAway) as raised:
        target.submit(submission)
    assert raised.value.is_reply_lost
    run = retried(lambda: target.submit(submission), bench.clock)
    bench.arrive()
    assert [job.name for job in bench.vertex.jobs()] == [run.resource]


def test_a_service_that_keeps_silent_is_not_waited_for_without_end(
    bench: Bench, target: VertexTarget, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.find(submission.run_id)  # the connection stands
    # Long enough for the request to get there, whatever else the machine does.
    monkeypatch.setattr(jobs, "CALL_TIMEOUT_S", 1.0)
    bench.faults.slow_s = 3.0
    bench.faults.add("CreatePipelineJob", "slow")
    with pytest.raises(ServiceAway) as raised:
        target.submit(submission)
    assert raised.value.is_reply_lost
    until = time.monotonic() + 60
    while not bench.vertex.jobs() and time.monotonic() < until:
        time.sleep(0.01)  # the service carries it out all the same
    assert len(bench.vertex.jobs()) == 1


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (
            "denied",
            NotAllowed,
            "aiplatform.pipelineJobs.create is missing. Grant roles/aiplatform.user: gcloud projects",
        ),
        ("disabled", ServiceDisabled, "gcloud services enable aiplatform.googleapis.com --project=tunelane-test"),
        ("quota", QuotaExceeded, "the quota aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus of"),
        ("429", ServiceAway, "too many calls"),
        ("503", ServiceAway, "the service is away"),
        ("conflict", ServiceAway, "at the same time"),
        ("dropped", ServiceAway, "the service is away"),
    ],
)
def test_a_refusal_says_what_to_do(
    kind: Kind, error: type, words: str, bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("CreatePipelineJob", kind)
    with pytest.raises(error, match=words) as raised:
        target.submit(submission)
    assert str(raised.value).startswith("Cannot start the run: ")
    assert bench.vertex.jobs() == []


def test_what_the_service_finds_wrong_is_said_in_its_words(target: VertexTarget, submission: Submission) -> None:
    with pytest.raises(Refused, match=r"Cannot start the run: .*unheard_of"):
        target.submit(replace(submission, parameters={"unheard_of": 1}))


def test_an_account_that_may_not_be_used_names_the_role(gcp: GcpSettings, submission: Submission) -> None:
    settings = gcp.model_copy(update={"service_account": "runner@elsewhere.iam.gserviceaccount.com"})
    with pytest.raises(NotAllowed, match=r"iam.serviceAccounts.actAs .*roles/iam.serviceAccountUser"):
        VertexTarget(settings).submit(submission)


def test_a_run_survives_a_service_that_is_away(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    bench.faults.add("CreatePipelineJob", "503", times=2)
    bench.faults.add("CreatePipelineJob", "reply-lost", skip=0)
    run = retried(lambda: target.submit(submission), bench.clock)
    assert run.run_id == submission.run_id
    assert len(bench.vertex.jobs()) == 1
    assert bench.faults.unused() == []


def test_an_id_taken_by_something_else_is_refused(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    target.submit(submission)
    job = bench.state.resources[bench.vertex.name(submission.run_id)]
    job.labels["tunelane-run"] = "another"
    with pytest.raises(Refused, match="is there already, and is not this run"):
        target.submit(submission)
    assert target.find(submission.run_id) is None


def test_a_run_that_is_not_there_is_not_found(target: VertexTarget, bench: Bench) -> None:
    assert target.find("never-submitted") is None
    with pytest.raises(NoSuchResource, match="never-submitted"):
        target.get(f"projects/{bench.project}/locations/{bench.region}/pipelineJobs/never-submitted")


def test_our_runs_are_listed_the_newest_first(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    began_at = bench.clock.now()
    for number in range(3):
        bench.clock.advance(timedelta(minutes=1))
        target.submit(replace(submission, run_id=f"small-{number}"))
    runs = list(target.runs(since=began_at))
    assert [run.run_id for run in runs] == ["small-2", "small-1", "small-0"]
    assert [(run.pipeline, run.tasks) for run in runs] == [("small", ())] * 3
    newest = list(target.runs(since=began_at + timedelta(minutes=3)))
    assert [run.run_id for run in newest] == ["small-2"]


def test_more_runs_than_a_page_are_all_listed(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    for number in range(103):
        target.submit(replace(submission, run_id=f"small-{number}"))
    assert len(list(target.runs(since=bench.clock.now()))) == 103
    assert len(bench.called("ListPipelineJobs")) == 2


def test_runs_of_others_are_not_listed(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    target.submit(submission)
    del bench.state.resources[bench.vertex.name(submission.run_id)].labels["tunelane-run"]
    assert list(target.runs(since=bench.clock.now())) == []


def test_nobody_is_asked_who_owns_the_bucket(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    target.check(submission)
    target.submit(submission)
    assert [call.method for call in bench.calls] == ["storage.buckets.get", "CreatePipelineJob"]


def test_a_key_and_a_network_reach_the_job(bench: Bench, gcp: GcpSettings, submission: Submission) -> None:
    key = f"projects/{bench.project}/locations/{bench.region}/keyRings/r/cryptoKeys/k"
    network = f"projects/{bench.project_number}/global/networks/lane"
    settings = gcp.model_copy(update={"encryption_key": key, "network": network, "labels": {"team": "text"}})
    VertexTarget(settings).submit(submission)
    job = bench.vertex.job(submission.run_id)
    assert (job.encryption_spec.kms_key_name, job.network) == (key, network)
    assert (job.service_account, job.labels["team"]) == (bench.service_account, "text")
