"""Vertex AI Pipelines' fake, by the generated client over gRPC and REST."""

import re
from datetime import timedelta

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import AcceleratorType, PipelineState, PipelineTaskDetail

from tests.cloud.bench.specs import small_spec
from tests.cloud.bench.steps import Step, failing, succeeding

_TaskState = PipelineTaskDetail.State
_over_both = pytest.mark.parametrize("transport", ["grpc", "rest"])


@pytest.fixture
def create(pipeline_client, vertex_parent, small_job):
    def run(job_id="one", **fields):
        return pipeline_client.create_pipeline_job(
            parent=vertex_parent, pipeline_job=small_job | fields, pipeline_job_id=job_id, timeout=20
        )

    return run


def _states(job):
    return {task.task_name: task.state for task in job.job_detail.task_details}


@_over_both
def test_a_job_runs_until_it_succeeds(pipeline_client, create, bench):
    job = create()
    assert job.name == f"projects/{bench.project_number}/locations/{bench.region}/pipelineJobs/one"
    assert job.state == PipelineState.PIPELINE_STATE_PENDING
    running, ended = (pipeline_client.get_pipeline_job(name=job.name) for _ in range(2))
    assert running.state == PipelineState.PIPELINE_STATE_RUNNING
    assert ended.state == PipelineState.PIPELINE_STATE_SUCCEEDED
    assert _states(ended) == dict.fromkeys(("one", "first", "second"), _TaskState.SUCCEEDED)
    assert ended.create_time < ended.start_time < ended.end_time
    assert [call.method for call in bench.calls] == ["CreatePipelineJob", "GetPipelineJob", "GetPipelineJob"]


def test_a_script_shows_each_task_in_turn(pipeline_client, create, bench):
    bench.vertex.script(succeeding("first", "second"))
    job = create()
    seen = [_states(pipeline_client.get_pipeline_job(name=job.name)) for _ in range(6)]
    assert seen[1] | {"one": _TaskState.RUNNING} == seen[1]
    assert (seen[1]["first"], seen[1]["second"]) == (_TaskState.RUNNING, _TaskState.PENDING)
    assert (seen[3]["first"], seen[3]["second"]) == (_TaskState.SUCCEEDED, _TaskState.RUNNING)
    assert bench.vertex.job("one").state == PipelineState.PIPELINE_STATE_SUCCEEDED


@_over_both
def test_a_failed_task_has_its_message_and_ends_the_job(pipeline_client, create, bench):
    bench.vertex.script(failing("first", "second", failed="first", message="no CUDA device"))
    job = create()
    for _ in range(3):
        pipeline_client.get_pipeline_job(name=job.name)
    job = pipeline_client.get_pipeline_job(name=job.name)
    assert job.state == PipelineState.PIPELINE_STATE_FAILED
    assert "[first]" in job.error.message
    tasks = {task.task_name: task for task in job.job_detail.task_details}
    assert tasks["first"].error.message == "no CUDA device"
    assert tasks["second"].state == _TaskState.NOT_TRIGGERED


def test_a_script_that_names_an_unknown_task_is_a_mistake_of_the_test(create, bench):
    create()
    bench.vertex.script([Step(tasks={"third": "RUNNING"})], "one")
    with pytest.raises(ValueError, match=r"no task third; there are: one, first, second"):
        bench.vertex.step("one")


def test_a_held_job_stays_as_it_is(pipeline_client, create, bench):
    bench.vertex.hold()
    job = create()
    assert {pipeline_client.get_pipeline_job(name=job.name).state for _ in range(3)} == {job.state}
    bench.vertex.finish("one")
    assert pipeline_client.get_pipeline_job(name=job.name).state == PipelineState.PIPELINE_STATE_SUCCEEDED


@_over_both
def test_an_id_is_taken_once(create, bench):
    create()
    with pytest.raises(exceptions.Conflict):
        create()
    assert len(bench.vertex.jobs()) == 1


@pytest.mark.parametrize("job_id", ["One", "1-run", "a_b", "a" * 128])
def test_an_id_of_another_form_is_refused(create, job_id):
    with pytest.raises(exceptions.BadRequest, match="pipeline_job_id"):
        create(job_id)


def test_a_job_without_an_id_gets_one(create, bench):
    assert re.fullmatch(r"small-\d+", create("").name.rsplit("/", 1)[1])


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"labels": {"Tunelane": "one"}}, "label"),
        ({"labels": {"run": "One"}}, "label"),
        ({"labels": {f"l{number}": "" for number in range(65)}}, "64"),
        ({"display_name": "a" * 129}, "display_name"),
        ({"runtime_config": {"gcs_output_directory": "runs"}}, "gcs_output_directory"),
        ({"runtime_config": {}}, "gcs_output_directory"),
        ({"network": "default"}, "network"),
        ({"service_account": "runner"}, "Service account"),
        ({"encryption_spec": {"kms_key_name": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"}}, "kms_key"),
        ({"pipeline_spec": {}}, "pipeline_spec"),
        ({"pipeline_spec": small_spec("first") | {"rooot": {}}}, "rooot"),
        ({"template_uri": "gs://b/pipeline.yaml"}, "template_uri"),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused(create, bench, fields, word):
    with pytest.raises(exceptions.BadRequest, match=word):
        create(**fields)
    assert bench.vertex.jobs() == []


@_over_both
@pytest.mark.parametrize("values", [{"m": 1}, {"n": "1"}, {"n": 1.5}])
def test_parameters_are_held_against_the_pipeline(create, bench, values):
    config = {"gcs_output_directory": "gs://b-b/runs", "parameter_values": values}
    with pytest.raises(exceptions.BadRequest, match=f"parameter {next(iter(values))}"):
        create(runtime_config=config)


def test_a_required_parameter_without_a_value_is_refused(create):
    spec = small_spec("first")
    spec["root"]["inputDefinitions"]["parameters"]["n"] = {"parameterType": "NUMBER_INTEGER"}
    with pytest.raises(exceptions.BadRequest, match="required"):
        create(pipeline_spec=spec)


def test_an_account_of_another_project_may_not_be_used(create):
    with pytest.raises(exceptions.Forbidden, match="act as"):
        create(service_account="runner@other.iam.gserviceaccount.com")


@_over_both
def test_a_list_has_the_newest_first_and_no_details(pipeline_client, create, vertex_parent, bench):
    for job_id in ("a", "b", "c"):
        create(job_id, labels={"tunelane-run": job_id})
    listed = list(pipeline_client.list_pipeline_jobs(request={"parent": vertex_parent, "page_size": 2}))
    assert [job.name.rsplit("/", 1)[1] for job in listed] == ["c", "b", "a"]
    assert not any(job.job_detail.task_details for job in listed)
    assert len(bench.called("ListPipelineJobs")) == 2


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('labels.tunelane-run="b"', "b"),
        ("labels.tunelane-run=b", "b"),
        ("labels.tunelane-run:*", "cba"),
        ("labels:tunelane-run", "cba"),
        ('NOT labels.tunelane-run="b"', "ca"),
        ('labels.tunelane-run="a" OR labels.tunelane-run="c"', "ca"),
        ('(labels.tunelane-run="a" OR labels.tunelane-run="c") AND pipeline_name="small"', "ca"),
        ('display_name:"sm*"', "cba"),
        ('pipeline_job_user_id:"b*"', "b"),
        ('display_name!="small"', ""),
        ('state="PIPELINE_STATE_PENDING"', "cb"),
        ('create_time>="{b}"', "cb"),
        ('create_time<"{b}"', "a"),
        ('create_time>"{b}" AND labels.tunelane-run="a"', ""),
    ],
)
def test_a_list_is_filtered(pipeline_client, create, vertex_parent, bench, expression, found):
    created = {job_id: create(job_id, labels={"tunelane-run": job_id}) for job_id in ("a", "b", "c")}
    bench.vertex.finish("a")
    expression = expression.replace("{b}", created["b"].create_time.rfc3339())
    listed = pipeline_client.list_pipeline_jobs(request={"parent": vertex_parent, "filter": expression})
    assert "".join(job.name.rsplit("/", 1)[1] for job in listed) == found


@pytest.mark.parametrize(
    "request_",
    [
        {"filter": "labels.tunelane-run"},
        {"filter": 'color="red"'},
        {"filter": 'display_name="small" AND'},
        {"filter": "(display_name=small"},
        {"filter": "create_time>yesterday"},
        {"order_by": "display_name"},
        {"page_token": "2"},
    ],
)
def test_a_list_asked_for_wrongly_is_refused(pipeline_client, create, vertex_parent, request_):
    create()
    with pytest.raises(exceptions.BadRequest):
        list(pipeline_client.list_pipeline_jobs(request={"parent": vertex_parent, **request_}))


def test_a_list_is_ordered_as_asked(pipeline_client, create, vertex_parent):
    for job_id in ("a", "b"):
        create(job_id)
    listed = pipeline_client.list_pipeline_jobs(request={"parent": vertex_parent, "order_by": "create_time"})
    assert [job.name[-1] for job in listed] == ["a", "b"]


@_over_both
def test_a_job_is_cancelled_in_its_time(pipeline_client, create):
    job = create()
    pipeline_client.get_pipeline_job(name=job.name)
    pipeline_client.cancel_pipeline_job(name=job.name)
    states = [pipeline_client.get_pipeline_job(name=job.name) for _ in range(2)]
    assert [job.state.name for job in states] == ["PIPELINE_STATE_CANCELLING", "PIPELINE_STATE_CANCELLED"]
    assert states[1].error.code == 1
    with pytest.raises(exceptions.BadRequest):
        pipeline_client.cancel_pipeline_job(name=job.name)


@_over_both
def test_a_job_that_is_not_there_is_not_found(pipeline_client, bench):
    for call in (pipeline_client.get_pipeline_job, pipeline_client.cancel_pipeline_job):
        with pytest.raises(exceptions.NotFound):
            call(name=bench.vertex.name("none"))


@_over_both
def test_a_deletion_ends_in_its_operation(pipeline_client, create, bench):
    job = create()
    pipeline_client.delete_pipeline_job(name=job.name).result(timeout=20)
    assert bench.vertex.jobs() == []
    assert [call.method for call in bench.calls][1:] == ["DeletePipelineJob", "GetOperation", "GetOperation"]


@_over_both
def test_another_project_is_closed(pipeline_client, bench):
    with pytest.raises(exceptions.Forbidden):
        pipeline_client.get_pipeline_job(name=f"projects/other/locations/{bench.region}/pipelineJobs/one")


def test_a_region_is_asked_at_its_own_host(pipeline_client, bench):
    with pytest.raises(exceptions.BadRequest, match="us-central1"):
        list(pipeline_client.list_pipeline_jobs(parent=f"projects/{bench.project}/locations/us-central1"))


def test_tasks_in_groups_are_listed_below_their_group(create):
    spec = small_spec("first", "second")
    spec["components"]["comp-group"] = {"dag": {"tasks": {"second": spec["root"]["dag"]["tasks"].pop("second")}}}
    spec["root"]["dag"]["tasks"]["group"] = {"taskInfo": {"name": "group"}, "componentRef": {"name": "comp-group"}}
    tasks = {task.task_name: task for task in create(pipeline_spec=spec).job_detail.task_details}
    assert tasks["second"].parent_task_id == tasks["group"].task_id
    assert tasks["group"].parent_task_id == tasks["first"].parent_task_id == tasks["one"].task_id
    assert tasks["group"].execution.schema_title == "system.DagExecution"


def test_each_container_runs_as_a_custom_job_on_the_machine_it_asks_for(create, bench):
    spec = small_spec("first")
    spec["deploymentSpec"]["executors"]["exec-first"] = {
        "container": {
            "image": "image:1",
            "command": ["python", "-m", "train"],
            "resources": {"cpuLimit": 8.0, "accelerator": {"type": "NVIDIA_L4", "count": "1"}},
        }
    }
    detail = create(pipeline_spec=spec).job_detail.task_details[1].executor_detail
    job = bench.state.get(detail.container_detail.main_job)
    pool = job.job_spec.worker_pool_specs[0]
    assert pool.machine_spec.machine_type == "g2-standard-8"
    assert (pool.machine_spec.accelerator_type, pool.machine_spec.accelerator_count) == (AcceleratorType.NVIDIA_L4, 1)
    assert list(pool.container_spec.command) == ["python", "-m", "train"]
    assert job.job_spec.service_account == bench.service_account


def test_an_accelerator_that_does_not_exist_is_refused(create):
    spec = small_spec("first")
    container = spec["deploymentSpec"]["executors"]["exec-first"]["container"]
    container["resources"] = {"accelerator": {"type": "nvidia.com/gpu", "count": "1"}}
    with pytest.raises(exceptions.BadRequest, match=r"nvidia\.com/gpu"):
        create(pipeline_spec=spec)


def test_time_is_the_benchs(create, bench):
    bench.clock.advance(timedelta(days=3))
    assert create().create_time == bench.clock.now()
