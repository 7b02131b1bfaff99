"""Faults as the unmodified clients see them, and what the fakes did meanwhile."""

import time

import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage
from google.protobuf import duration_pb2

from tests.cloud.bench.faults import AFTERWARDS, KINDS, ON_CREATES, ON_OPERATIONS, Fault, matrix

_ERRORS = {
    "429": exceptions.TooManyRequests,
    "500": exceptions.InternalServerError,
    "503": exceptions.ServiceUnavailable,
    "deadline": exceptions.GatewayTimeout,
    "deadline-after": exceptions.GatewayTimeout,
    "conflict": exceptions.Conflict,
    "denied": exceptions.Forbidden,
    "disabled": exceptions.Forbidden,
    "quota": exceptions.TooManyRequests,
    "dropped": (exceptions.ServiceUnavailable, requests.exceptions.ConnectionError),
    "reply-lost": (exceptions.ServiceUnavailable, requests.exceptions.ConnectionError),
}
_over_both = pytest.mark.parametrize("transport", ["grpc", "rest"])


@pytest.fixture
def create(pipeline_client, vertex_parent, small_job):
    def run(job_id="one"):
        return pipeline_client.create_pipeline_job(
            parent=vertex_parent, pipeline_job=small_job, pipeline_job_id=job_id, retry=None, timeout=20
        )

    return run


def _anew(call):
    """Make a call after the line was cut: gRPC may still send the next one on the broken connection."""
    try:
        return call()
    except exceptions.ServiceUnavailable:
        return call()


@_over_both
@pytest.mark.parametrize("kind", _ERRORS)
def test_a_fault_is_seen_once_and_is_recorded(create, bench, kind):
    bench.faults.add("CreatePipelineJob", kind)
    with pytest.raises(_ERRORS[kind]):
        create()
    is_carried_out = kind in AFTERWARDS
    assert len(bench.vertex.jobs()) == is_carried_out
    (call,) = bench.calls
    assert (call.fault, call.is_carried_out) == (kind, is_carried_out)
    assert call.outcome != "OK"
    assert bench.faults.unused() == []
    assert _anew(lambda: create("two")).name.endswith("/two")


@_over_both
def test_a_slow_call_is_answered_all_the_same(create, bench):
    bench.faults.add("CreatePipelineJob", "slow")
    create()
    assert bench.calls[0].outcome == "OK"


@_over_both
def test_a_caller_may_not_have_the_time_for_a_slow_call(create, bench, pipeline_client):
    job = create()
    bench.faults.slow_s = 2.0
    bench.faults.add("GetPipelineJob", "slow")
    with pytest.raises((exceptions.DeadlineExceeded, requests.exceptions.ReadTimeout)):
        pipeline_client.get_pipeline_job(name=job.name, timeout=0.05, retry=None)
    # What goes on must not go on in the next test.
    until = time.monotonic() + 60
    while not bench.calls[-1].outcome and time.monotonic() < until:
        time.sleep(0.01)


@_over_both
def test_an_errors_details_name_the_permission_and_the_pause(create, bench):
    bench.faults.add("CreatePipelineJob", "denied")
    bench.faults.add("CreatePipelineJob", "disabled")
    bench.faults.add("CreatePipelineJob", "429")
    errors = []
    for _ in range(3):
        with pytest.raises(exceptions.GoogleAPICallError) as raised:
            create()
        errors.append(raised.value)
    assert errors[0].reason == "IAM_PERMISSION_DENIED"
    assert errors[0].metadata["permission"] == "aiplatform.pipelineJobs.create"
    assert errors[1].reason == "SERVICE_DISABLED"
    assert errors[1].metadata["service"] == "aiplatform.googleapis.com"
    # REST's client leaves the details as JSON.
    pauses = [detail for detail in errors[2].details if "RetryInfo" in str(detail) or hasattr(detail, "retry_delay")]
    assert [getattr(pause, "retry_delay", None) or pause["retryDelay"] for pause in pauses] in (
        ["5s"], [duration_pb2.Duration(seconds=5)],
    )  # fmt: skip


def test_faults_leave_calls_alone_and_hit_as_many_as_told(create, bench):
    bench.faults.add("CreatePipelineJob", "503", times=2, skip=1)
    outcomes = []
    for number in range(4):
        try:
            create(f"job-{number}")
        except exceptions.ServiceUnavailable:
            outcomes.append("away")
        else:
            outcomes.append("done")
    assert outcomes == ["done", "away", "away", "done"]


def test_a_fault_that_does_not_fit_is_a_mistake_of_the_test(create, bench):
    bench.faults.add("CreatePipelineJob", "partial")
    with pytest.raises(exceptions.Unknown):
        create()
    assert "gives no operation" in bench.unknown.pop()


def test_an_unknown_fault_is_a_mistake_of_the_test(bench):
    with pytest.raises(ValueError, match="no such fault"):
        bench.faults.add("CreatePipelineJob", "418")


@_over_both
@pytest.mark.parametrize("kind", ON_OPERATIONS)
def test_an_operation_may_stop_half_way_or_take_its_time(create, bench, pipeline_client, kind):
    job = create()
    bench.faults.add("DeletePipelineJob", kind)
    operation = pipeline_client.delete_pipeline_job(name=job.name)
    if kind == "partial":
        with pytest.raises(exceptions.GoogleAPICallError):
            operation.result(timeout=20)
    else:
        assert not operation.done()
        operation._polling._initial = 0.01
        operation.result(timeout=20)
    assert bench.vertex.jobs() == []


def test_the_matrix_has_each_fitting_fault_at_every_call(create, bench, pipeline_client):
    job = create()
    for _ in range(2):
        pipeline_client.get_pipeline_job(name=job.name)
    pipeline_client.delete_pipeline_job(name=job.name)
    faults = matrix(bench.calls)
    assert Fault("GetPipelineJob", "503", skip=1) in faults
    assert Fault("DeletePipelineJob", "partial") in faults
    assert Fault("GetPipelineJob", "partial") not in faults
    assert Fault("CreatePipelineJob", "late") in faults
    assert Fault("GetPipelineJob", "late") not in faults
    assert len(faults) == 4 * len(KINDS) - 3 * len(ON_OPERATIONS) - 3 * len(ON_CREATES)


@_over_both
def test_a_call_may_arrive_when_its_caller_has_given_up(create, bench, pipeline_client, vertex_parent):
    bench.faults.add("CreatePipelineJob", "late")
    with pytest.raises(_ERRORS["dropped"]):
        create()
    seen = [_anew(lambda: len(list(pipeline_client.list_pipeline_jobs(parent=vertex_parent)))) for _ in range(3)]
    assert seen == [0, 0, 1]
    assert bench.calls[0].is_carried_out


def test_a_late_call_may_meet_what_came_before_it(create, bench):
    bench.faults.add("CreatePipelineJob", "late")
    with pytest.raises(exceptions.ServiceUnavailable):
        create()
    _anew(create)
    bench.arrive()
    assert len(bench.vertex.jobs()) == 1
    assert bench.calls[0].outcome == "ALREADY_EXISTS"


@_over_both
def test_an_answer_may_not_say_what_was_made(create, bench):
    bench.faults.add("CreatePipelineJob", "nameless")
    assert create().name == ""
    assert len(bench.vertex.jobs()) == 1


def test_only_what_makes_something_may_be_late(create, bench, pipeline_client):
    job = create()
    bench.faults.add("GetPipelineJob", "late")
    with pytest.raises(exceptions.Unknown):
        pipeline_client.get_pipeline_job(name=job.name, retry=None)
    assert "makes nothing" in bench.unknown.pop()


@pytest.mark.parametrize("kind", ["429", "503", "denied", "dropped", "reply-lost"])
def test_storage_has_faults_too(bench, kind):
    client = storage.Client(project=bench.project)
    blob = client.bucket(bench.bucket).blob("template.yaml")
    bench.faults.add("storage.objects.insert", kind)
    with pytest.raises(_ERRORS[kind]):
        blob.upload_from_string("text", retry=None)
    assert bench.storage.names(bench.bucket) == (["template.yaml"] if kind == "reply-lost" else [])


def test_a_cut_line_is_made_anew(create, bench, pipeline_client):
    job = create()
    for _ in range(3):
        bench.faults.add("GetPipelineJob", "dropped")
        # Not met by a call that gRPC still sends on the connection that was cut before.
        while bench.faults.unused():
            with pytest.raises(exceptions.ServiceUnavailable):
                pipeline_client.get_pipeline_job(name=job.name, retry=None)
    assert _anew(lambda: pipeline_client.get_pipeline_job(name=job.name, retry=None)).name == job.name
