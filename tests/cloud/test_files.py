"""Cloud Storage, Cloud Logging and the template registry, by the clients that speak to them."""

import pytest
import requests
import yaml
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from kfp.registry import RegistryClient

from tests.cloud.bench.specs import small_spec


@pytest.fixture
def store(bench):
    return storage.Client(project=bench.project)


def test_a_bucket_tells_where_it_lies(store, bench):
    bench.storage.add_bucket("far-away", "us")
    far = store.get_bucket("far-away")
    assert (far.location, far.location_type) == ("US", "multi-region")
    assert store.get_bucket(bench.bucket).location == "EUROPE-WEST4"
    made = store.create_bucket("made-here", location="europe-west1")
    assert store.get_bucket(made.name).location == "EUROPE-WEST1"
    with pytest.raises(exceptions.NotFound):
        store.get_bucket("none-such")


def test_a_buckets_settings_are_kept(store, bench):
    bucket = store.get_bucket(bench.bucket)
    bucket.add_lifecycle_delete_rule(age=30)
    bucket.patch()
    (rule,) = store.get_bucket(bench.bucket).lifecycle_rules
    assert rule["condition"]["age"] == 30


def test_an_object_is_written_once_where_that_is_asked(store, bench):
    blob = store.bucket(bench.bucket).blob("runs/a b/täxt.json")
    blob.upload_from_string("one", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string("two", if_generation_match=0)
    assert blob.download_as_bytes() == bench.storage.read(f"gs://{bench.bucket}/runs/a b/täxt.json") == b"one"
    blob.reload()
    blob.upload_from_string("two", if_generation_match=blob.generation)
    assert [item.name for item in store.list_blobs(bench.bucket, prefix="runs/")] == ["runs/a b/täxt.json"]
    blob.delete()
    assert bench.storage.names(bench.bucket) == []


def test_a_large_object_comes_in_parts(store, bench):
    content = bytes(range(256)) * 4096
    blob = store.bucket(bench.bucket).blob("large")
    blob.chunk_size = 256 * 1024
    with blob.open("wb") as stream:
        stream.write(content)
    assert blob.download_as_bytes(start=256, end=511) == bytes(range(256))
    assert bench.storage.read(f"gs://{bench.bucket}/large") == content


def test_objects_are_joined(store, bench):
    bucket = store.bucket(bench.bucket)
    for name in ("one", "two"):
        bucket.blob(name).upload_from_string(name)
    bucket.blob("both").compose([bucket.blob("one"), bucket.blob("two")])
    assert bench.storage.read(f"gs://{bench.bucket}/both") == b"onetwo"
    assert bench.called("storage.objects.compose")


def test_gcsfs_reads_and_writes(bench):
    import gcsfs

    bench.storage.write(f"gs://{bench.bucket}/data/rows.jsonl", b"{}\n")
    files = gcsfs.GCSFileSystem(project=bench.project, skip_instance_cache=True)
    assert files.cat(f"{bench.bucket}/data/rows.jsonl") == b"{}\n"
    files.pipe(f"{bench.bucket}/out/model.bin", b"\x00" * 1000)
    assert files.ls(f"{bench.bucket}/out") == [f"{bench.bucket}/out/model.bin"]
    assert bench.storage.names(bench.bucket, "out/") == ["out/model.bin"]


def test_each_test_has_clean_buckets(bench):
    assert bench.storage.buckets() == [bench.bucket]
    assert bench.storage.names(bench.bucket) == []


def test_a_tasks_lines_are_found_by_its_custom_job(bench, pipeline_client, vertex_parent, small_job):
    job = pipeline_client.create_pipeline_job(parent=vertex_parent, pipeline_job=small_job, pipeline_job_id="one")
    bench.logs.write("one", "first", "loading")
    bench.logs.write("one", "second", "no such file", "ERROR")
    bench.logs.write("one", "first", "done", as_json=True)
    client = LoggingServiceV2Client()
    job_id = job.job_detail.task_details[1].executor_detail.container_detail.main_job.rsplit("/", 1)[1]

    def texts(expression, **fields):
        request = {"resource_names": [f"projects/{bench.project}"], "filter": expression, **fields}
        entries = client.list_log_entries(request=request, timeout=20)
        return [entry.text_payload or entry.json_payload["message"] for entry in entries]

    assert texts(f'resource.type="ml_job" AND resource.labels.job_id="{job_id}"') == ["loading", "done"]
    assert texts("", order_by="timestamp desc", page_size=1) == ["done", "no such file", "loading"]
    assert texts("severity>=WARNING") == ["no such file"]
    assert texts(f'resource.labels.job_id=("{job_id}" OR "0")\ntimestamp>="{job.create_time.rfc3339()}"') == [
        "loading", "done",
    ]  # fmt: skip
    assert texts('labels."ml.googleapis.com/trial_id"="1"') == []
    for wrong in ({"order_by": "severity"}, {"page_size": 1001}, {"filter": "colour=red"}):
        with pytest.raises(exceptions.InvalidArgument):
            texts(wrong.pop("filter", ""), **wrong)


def test_a_template_is_uploaded_and_run(bench, tmp_path, pipeline_client, vertex_parent, small_job):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small_spec("first")))
    registry = RegistryClient(host=f"https://{bench.repository}")
    package, version = registry.upload_pipeline(str(path), tags=["v1", "latest"])
    assert (package, version[:7]) == ("small", "sha256:")
    assert registry.upload_pipeline(str(path)) == (package, version)
    assert [item["name"].rsplit("/", 1)[1] for item in registry.list_tags("small")] == ["v1", "latest"]
    assert registry.get_version("small", version)["name"].endswith(version)
    downloaded = registry.download_pipeline("small", tag="latest", file_name=str(tmp_path / "again.yaml"))
    assert (tmp_path / "again.yaml").read_bytes() == path.read_bytes()
    assert downloaded
    del small_job["pipeline_spec"]
    job = small_job | {"template_uri": f"https://{bench.repository}/small/v1"}
    job = pipeline_client.create_pipeline_job(parent=vertex_parent, pipeline_job=job, pipeline_job_id="one")
    assert [task.task_name for task in job.job_detail.task_details] == ["one", "first"]
    assert job.template_metadata.version


@pytest.mark.parametrize(
    ("content", "repository", "status"),
    [
        ("text", "tunelane", 400),
        (yaml.safe_dump(small_spec("first", name="Small")), "tunelane", 400),
        (yaml.safe_dump(small_spec("first")), "other", 404),
    ],
)
def test_what_is_no_template_or_has_no_place_is_refused(bench, tmp_path, content, repository, status):
    path = tmp_path / "small.yaml"
    path.write_text(content)
    registry = RegistryClient(host=f"https://{bench.repository.rsplit('/', 1)[0]}/{repository}")
    with pytest.raises(requests.HTTPError) as raised:
        registry.upload_pipeline(str(path))
    assert raised.value.response.status_code == status
    assert bench.registry.templates == {}
