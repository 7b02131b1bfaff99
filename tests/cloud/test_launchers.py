"""Tasks that launch custom jobs: what the bench takes, and what it refuses as the launcher or the service would."""

import json
from copy import deepcopy

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import JobServiceClient, Scheduling
from google.protobuf import json_format
from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component
from kfp import components

from tests.cloud.bench.specs import small_spec

_POOL = {
    "machine_spec": {"machine_type": "g2-standard-8", "accelerator_type": "NVIDIA_L4", "accelerator_count": 1},
    "replica_count": 1,
    "container_spec": {"image_uri": "image:1", "command": ["train"], "args": ["{{$.json_escape[1]}}"]},
    "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 200},
}
_JOB = {
    "display_name": "first",
    "job_spec": {
        "worker_pool_specs": [_POOL],
        "scheduling": {"timeout": "3600s", "strategy": "SPOT", "max_wait_duration": "86400s"},
        "service_account": "{{$.pipeline_service_account}}",
        "network": "{{$.pipeline_network}}",
        "tensorboard": "",
        "reserved_ip_ranges": [],
    },
    "labels": {"stage": "train"},
    "encryption_spec": {"kms_key_name": "{{$.pipeline_encryption_key_name}}"},
}
_TRAINER = """
components:
  comp-train:
    executorLabel: exec-train
    inputDefinitions: {parameters: {rows: {parameterType: NUMBER_INTEGER}}}
deploymentSpec:
  executors:
    exec-train:
      container: {image: "image:1", command: [train], args: [--executor_input, "{{$}}"]}
pipelineInfo: {name: train}
root:
  dag:
    tasks:
      train:
        cachingOptions: {}
        componentRef: {name: comp-train}
        inputs: {parameters: {rows: {componentInputParameter: rows}}}
        taskInfo: {name: train}
  inputDefinitions: {parameters: {rows: {parameterType: NUMBER_INTEGER}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


def _spec(payload=None, arguments=None, **container):
    """Give a pipeline whose task `first` is a launcher."""
    spec = small_spec("first")
    pairs = {
        "--type": "CustomJob",
        "--payload": json.dumps(_JOB if payload is None else payload),
        "--project": "{{$.pipeline_google_cloud_project_id}}",
        "--location": "{{$.pipeline_google_cloud_location}}",
        "--gcp_resources": "{{$.outputs.parameters['gcp_resources'].output_file}}",
        **(arguments or {}),
    }
    spec["deploymentSpec"]["executors"]["exec-first"]["container"] = {
        "image": "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0",
        "command": ["python3", "-u", "-m", "google_cloud_pipeline_components.container.v1.custom_job.launcher"],
        "args": [part for pair in pairs.items() if pair[1] is not None for part in pair],
        **container,
    }
    outputs = {"parameters": {"gcp_resources": {"parameterType": "STRING"}}}
    spec["components"]["comp-first"]["outputDefinitions"] = outputs
    return spec


def _changed(path, value):
    """Give the payload with one field changed: `job_spec.worker_pool_specs.0.replica_count`."""
    payload = deepcopy(_JOB)
    *above, last = path.split(".")
    place = payload
    for name in above:
        place = place[int(name) if name.isdigit() else name]
    place[int(last) if last.isdigit() else last] = value
    return payload


@pytest.fixture
def create(pipeline_client, vertex_parent, small_job):
    def run(spec, **fields):
        job = small_job | {"pipeline_spec": spec} | fields
        return pipeline_client.create_pipeline_job(parent=vertex_parent, pipeline_job=job, pipeline_job_id="one")

    return run


@pytest.fixture
def launched(vertex_options, vertex_parent):
    """Give the custom job that the launcher made, by the client."""
    client = JobServiceClient(client_options=vertex_options)

    def find():
        # The launcher's own has no label of the run.
        [job] = client.list_custom_jobs(request={"parent": vertex_parent, "filter": 'labels.tunelane-run="one"'})
        return job

    return find


def test_a_launchers_job_is_one_of_the_custom_jobs_with_every_setting(create, bench, vertex_options, vertex_parent):
    network = f"projects/{bench.project_number}/global/networks/lane"
    key = f"projects/{bench.project}/locations/{bench.region}/keyRings/r/cryptoKeys/k"
    [_, detail] = create(_spec(), network=network, encryption_spec={"kms_key_name": key}).job_detail.task_details
    assert detail.execution.metadata is None, "a task has no output before its end"
    bench.vertex.finish("one")
    [_, detail] = bench.vertex.job("one").job_detail.task_details
    [resource] = json.loads(detail.execution.metadata["output:gcp_resources"])["resources"]
    assert resource["resourceType"] == "CustomJob"
    client = JobServiceClient(client_options=vertex_options)
    job = client.get_custom_job(name=resource["resourceUri"].partition("/v1/")[2])
    assert job.name != detail.executor_detail.container_detail.main_job
    spec = job.job_spec
    [pool] = spec.worker_pool_specs
    machine = pool.machine_spec
    assert (machine.machine_type, machine.accelerator_type.name) == ("g2-standard-8", "NVIDIA_L4")
    assert machine.accelerator_count == 1
    assert (pool.disk_spec.boot_disk_type, pool.disk_spec.boot_disk_size_gb) == ("pd-ssd", 200)
    assert json.loads(pool.container_spec.args[0]) == {"inputs": {}, "outputs": {}}
    assert (spec.scheduling.strategy, spec.scheduling.timeout.seconds) == (Scheduling.Strategy.SPOT, 3600)
    assert (spec.service_account, spec.network, job.encryption_spec.kms_key_name) == (
        bench.service_account,
        network,
        key,
    )
    assert (job.labels["stage"], job.labels["tunelane-run"]) == ("train", "one")


def test_what_a_launched_job_writes_is_not_the_launchers(create, bench):
    create(_spec())
    bench.logs.write("one", "first", "epoch 1")
    [entry] = bench.logs._entries
    assert entry.resource.labels["job_id"] not in [
        task.executor_detail.container_detail.main_job.rsplit("/", 1)[-1]
        for task in bench.vertex.job("one").job_detail.task_details
    ]


def test_what_google_cloud_pipeline_components_makes_is_taken(create, launched):
    component = create_custom_training_job_from_component(
        components.load_component_from_text(_TRAINER),
        display_name="train",
        replica_count=3,
        machine_type="a2-highgpu-1g",
        accelerator_type="NVIDIA_TESLA_A100",
        strategy="SPOT",
    )
    config = {"gcs_output_directory": "gs://tunelane-test-ew4/runs", "parameter_values": {"rows": 5}}
    create(json_format.MessageToDict(component.pipeline_spec), runtime_config=config)
    job = launched()
    assert [pool.replica_count for pool in job.job_spec.worker_pool_specs] == [1, 2]
    assert job.job_spec.scheduling.strategy == Scheduling.Strategy.SPOT


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("colour", "red", "colour"),
        ("job_spec.worker_pool_specs.0.machine_spec.gpu", "L4", "gpu"),
        ("job_spec.scheduling.strategy", "CHEAP", "CHEAP"),
        ("job_spec.scheduling.timeout", "a day", "payload"),
        ("job_spec.scheduling.timeout", "-1s", "timeout"),
        ("display_name", "", "display_name"),
        ("labels", {"Stage": "train"}, "label"),
        ("job_spec.network", "default", "network"),
        ("job_spec.service_account", "runner", "Service account"),
        ("encryption_spec", {"kms_key_name": "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k"}, "kms_key"),
        ("job_spec.worker_pool_specs", [], "worker_pool_specs"),
        ("job_spec.worker_pool_specs", [_POOL] * 5, "at most 4"),
        ("job_spec.worker_pool_specs.0.replica_count", 2, "first worker pool"),
        ("job_spec.worker_pool_specs", [_POOL, {**_POOL, "replica_count": 0}], "replica_count"),
        ("job_spec.worker_pool_specs.0.container_spec", {}, "container_spec"),
        ("job_spec.worker_pool_specs.0.machine_spec", {"machine_type": "g2-standard-8"}, "accelerator_type"),
        ("job_spec.worker_pool_specs.0.machine_spec", {"accelerator_type": "NVIDIA_L4"}, "machine_type"),
        ("job_spec.worker_pool_specs.0.machine_spec.machine_type", "n2-standard-8", "does not come with"),
        ("job_spec.worker_pool_specs.0.machine_spec.machine_type", "laptop", "not supported"),
        ("job_spec.worker_pool_specs.0.machine_spec.accelerator_count", 2, "does not carry 2"),
        ("job_spec.worker_pool_specs.0.machine_spec.accelerator_count", 0, "accelerator_count"),
        ("job_spec.worker_pool_specs.0.disk_spec.boot_disk_type", "floppy", "boot_disk_type"),
        ("job_spec.worker_pool_specs.0.disk_spec.boot_disk_type", "pd-standard", "g2-standard-8"),
        ("job_spec.worker_pool_specs.0.disk_spec.boot_disk_size_gb", 10, "boot_disk_size_gb"),
        ("job_spec.worker_pool_specs.0.disk_spec.boot_disk_size_gb", 64001, "boot_disk_size_gb"),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused_with_its_run(create, bench, path, value, word):
    with pytest.raises((exceptions.BadRequest, exceptions.Forbidden), match=word):
        create(_spec(_changed(path, value)))
    assert bench.vertex.jobs() == []
    assert not any("/customJobs/" in name for name in bench.state.resources)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"--type": "BatchPredictionJob"}, "BatchPredictionJob"),
        ({"--payload": "{"}, "payload"),
        ({"--payload": None}, "--payload is required"),
        ({"--machine": "big"}, "no argument --machine"),
        ({"--project": "someone-elses"}, "someone-elses"),
        ({"--location": "us-east1"}, "us-east1"),
        ({"--gcp_resources": "resources.json"}, "gcp_resources"),
        ({"--project": "{{$.inputs.parameters['project']}}"}, "project"),
        ({"--project": "{{$.project}}"}, "not known"),
    ],
)
def test_arguments_that_the_launcher_would_not_take_are_refused(create, arguments, word):
    with pytest.raises(exceptions.BadRequest, match=word):
        create(_spec(arguments=arguments))


def test_another_image_is_no_launcher(create):
    with pytest.raises(exceptions.BadRequest, match="no image of the launcher"):
        create(_spec(image="python:3.11"))


def test_an_output_that_the_launcher_writes_must_be_one_of_the_task(create):
    spec = _spec()
    del spec["components"]["comp-first"]["outputDefinitions"]
    with pytest.raises(exceptions.BadRequest, match="gcp_resources"):
        create(spec)


@pytest.mark.parametrize(
    ("machine", "accelerator", "count"),
    [
        ("g2-standard-96", "NVIDIA_L4", 8),
        ("a2-highgpu-4g", "NVIDIA_TESLA_A100", 4),
        ("a2-ultragpu-1g", "NVIDIA_A100_80GB", 1),
        ("a3-highgpu-8g", "NVIDIA_H100_80GB", 8),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 2),
    ],
)
def test_a_machine_that_carries_the_accelerators_is_taken(create, launched, machine, accelerator, count):
    wanted = {"machine_type": machine, "accelerator_type": accelerator, "accelerator_count": count}
    create(_spec(_changed("job_spec.worker_pool_specs.0.machine_spec", wanted)))
    assert launched().job_spec.worker_pool_specs[0].machine_spec.machine_type == machine


def test_a_machine_without_accelerator_is_taken(create, launched):
    create(_spec(_changed("job_spec.worker_pool_specs.0.machine_spec", {"machine_type": "n2-standard-8"})))
    assert launched().job_spec.worker_pool_specs[0].machine_spec.accelerator_count == 0
