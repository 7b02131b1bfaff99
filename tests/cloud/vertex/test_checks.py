"""What is refused before anything is sent."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.faults import Kind
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, RegionMismatch, ServiceAway, TunelaneError
from tunelane_pipelines.targets.target import Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget


def _rooted(gcp: GcpSettings, bucket: str) -> VertexTarget:
    return VertexTarget(gcp.model_copy(update={"pipeline_root": f"gs://{bucket}/runs"}))


@pytest.mark.parametrize(
    ("location", "settings"),
    [("EUROPE-WEST4", {}), ("EU", {}), ("EUR4", {"locationType": "dual-region"})],
)
def test_a_bucket_in_the_region_or_around_it_is_fine(
    location: str, settings: dict[str, str], bench: Bench, gcp: GcpSettings, submission: Submission
) -> None:
    bench.storage.add_bucket("around", location, **settings)
    _rooted(gcp, "around").check(submission)


def test_a_chosen_pair_of_regions_counts_as_both(bench: Bench, gcp: GcpSettings, submission: Submission) -> None:
    pair = {"locationType": "dual-region", "customPlacementConfig": {"dataLocations": ["EUROPE-WEST1", "EUROPE-WEST4"]}}
    bench.storage.add_bucket("pair", "EU", **pair)
    _rooted(gcp, "pair").check(submission)
    pair["customPlacementConfig"] = {"dataLocations": ["EUROPE-WEST1", "EUROPE-WEST3"]}
    bench.storage.add_bucket("other-pair", "EU", **pair)
    with pytest.raises(RegionMismatch):
        _rooted(gcp, "other-pair").check(submission)


def test_a_bucket_elsewhere_is_refused_with_both_places(bench: Bench, gcp: GcpSettings, submission: Submission) -> None:
    bench.storage.add_bucket("elsewhere", "US-CENTRAL1")
    with pytest.raises(RegionMismatch, match="gs://elsewhere lies in us-central1, and runs go to europe-west4"):
        _rooted(gcp, "elsewhere").check(submission)


def test_a_missing_bucket_is_named_with_the_command_that_makes_it(gcp: GcpSettings, submission: Submission) -> None:
    command = "gcloud storage buckets create gs://nowhere --project=tunelane-test --location=europe-west4"
    with pytest.raises(NoSuchResource, match=command):
        _rooted(gcp, "nowhere").check(submission)


def test_a_bucket_that_may_not_be_looked_at_names_the_role(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("storage.buckets.get", "denied")
    with pytest.raises(NotAllowed, match=r"storage.buckets.get is missing. Grant roles/storage.bucketViewer"):
        target.check(submission)


@pytest.mark.parametrize("kind", ["503", "dropped", "429", "500"])
def test_storage_that_is_away_is_said_to_be(
    kind: Kind, bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("storage.buckets.get", kind)
    with pytest.raises(ServiceAway):
        target.check(submission)
    assert len(bench.calls) == 1, "the client did not try again by itself"


def _reading(submission: Submission, **parameters: str) -> Submission:
    return replace(submission, parameters=dict(parameters))


def test_each_bucket_of_the_parameters_is_looked_at_once(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.storage.add_bucket("data-ew4", "EUROPE-WEST4")
    bench.storage.add_bucket("around", "EU")
    asked = _reading(
        submission,
        data="gs://data-ew4/a.csv",
        test_data="gs://data-ew4/b.csv",
        registry_uri="gs://around/registry",
        upload_root=f"gs://{bench.bucket}/data",
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        deployment_uri="https://example.com/gs://not-a-bucket",
    )
    target.check(asked)
    assert [call.request["path"].rsplit("/", 1)[1] for call in bench.calls] == [bench.bucket, "data-ew4", "around"]


def test_data_elsewhere_is_refused_with_the_parameters_that_name_it(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.storage.add_bucket("far", "US-CENTRAL1")
    with pytest.raises(RegionMismatch) as raised:
        target.check(_reading(submission, data="gs://far/a.csv", taxonomy="gs://far/labels.yaml"))
    assert str(raised.value) == (
        "gs://far (parameters data, taxonomy) lies in us-central1, and runs go to europe-west4. Use a bucket in "
        "europe-west4, or set gcp.allow_other_regions to let data cross regions."
    )


def test_data_elsewhere_is_fine_where_the_settings_allow_it(
    bench: Bench, gcp: GcpSettings, submission: Submission
) -> None:
    bench.storage.add_bucket("far", "US-CENTRAL1")
    allowing = gcp.model_copy(update={"allow_other_regions": True})
    VertexTarget(allowing).check(_reading(submission, data="gs://far/a.csv"))
    with pytest.raises(RegionMismatch):
        VertexTarget(allowing.model_copy(update={"pipeline_root": "gs://far/runs"})).check(submission)


def test_data_whose_place_may_not_be_asked_for_is_left_to_the_tasks(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.storage.add_bucket("someone-elses", "US-CENTRAL1")
    bench.faults.add("storage.buckets.get", "denied", skip=1)
    target.check(_reading(submission, data="gs://someone-elses/a.csv"))
    assert bench.faults.unused() == []


def test_data_in_no_bucket_is_named_with_its_parameter(target: VertexTarget, submission: Submission) -> None:
    with pytest.raises(NoSuchResource, match=r"No bucket gs://nowhere, which is in parameter data\."):
        target.check(_reading(submission, data="gs://nowhere/a.csv"))


@pytest.mark.parametrize("bucket", ["-nowhere", "nowhere_", "*", "no?where", "no where"])
def test_data_in_what_can_be_no_bucket_is_named_with_its_parameter(
    bucket: str, target: VertexTarget, submission: Submission
) -> None:
    with pytest.raises(NoSuchResource, match=rf"No bucket gs://{re.escape(bucket)}, which is in parameter data\."):
        target.check(_reading(submission, data=f"gs://{bucket}/a.csv"))


def test_a_key_elsewhere_is_refused_without_asking(bench: Bench, gcp: GcpSettings, submission: Submission) -> None:
    key = f"projects/{bench.project}/locations/us-central1/keyRings/r/cryptoKeys/k"
    with pytest.raises(RegionMismatch):
        VertexTarget(gcp.model_copy(update={"encryption_key": key})).check(submission)
    assert bench.calls == []


def test_without_credentials_the_message_says_how_to_sign_in(
    target: VertexTarget, submission: Submission, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(NotAllowed, match="gcloud auth application-default login") as raised:
        target.submit(submission)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"type": "service_account"}', None])
def test_credentials_that_cannot_be_read_are_no_passing_fault(
    content: str | None,
    target: VertexTarget,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "account.json"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(NotAllowed, match=r"^No usable Google Cloud credentials .*Sign in: gcloud auth") as raised:
        target.check(submission)
    assert "\n" not in str(raised.value)


class _NoTokens(BaseHTTPRequestHandler):
    """What Google answers for a key that was taken back."""

    def do_POST(self) -> None:
        body = json.dumps({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def no_tokens(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Credentials that are no good any more."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _NoTokens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _use_token_server(bench, monkeypatch, tmp_path, server.server_port)
    yield
    server.shutdown()
    server.server_close()


def _use_token_server(bench: Bench, monkeypatch: pytest.MonkeyPatch, directory: Path, port: int) -> None:
    account = json.loads(Path(bench.environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    path = directory / "account.json"
    path.write_text(json.dumps({**account, "token_uri": f"http://127.0.0.1:{port}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


def test_credentials_that_were_taken_back_are_no_passing_fault(
    no_tokens: None, target: VertexTarget, submission: Submission
) -> None:
    with pytest.raises(NotAllowed, match=r"Google refuses the credentials.*Sign in"):
        target.check(submission)


def test_a_token_server_that_is_away_is_a_passing_fault(
    bench: Bench, target: VertexTarget, submission: Submission, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        _use_token_server(bench, monkeypatch, tmp_path, closed.getsockname()[1])
        with pytest.raises(ServiceAway, match="no access token") as raised:
            target.check(submission)
    assert not raised.value.is_reply_lost, "nothing was sent"


def test_a_project_that_is_not_ours_is_named(bench: Bench, gcp: GcpSettings, submission: Submission) -> None:
    settings = gcp.model_copy(update={"project": "someone-elses"})
    with pytest.raises(TunelaneError, match="someone-elses is no project, or not one of yours"):
        VertexTarget(settings).submit(submission)
