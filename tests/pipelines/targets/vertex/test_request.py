"""The request that starts a run, as it is sent."""

import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import CreatePipelineJobRequest
from google.protobuf import json_format
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.target import Submission
from tunelane_pipelines.targets.vertex.request import check_settings, run_request, scheduled_request
from tunelane_serving.errors import InputError


def test_a_request_says_everything_a_run_needs(submission: Submission, settings: GcpSettings) -> None:
    full = settings.model_copy(
        update={
            "service_account": "runner@tunelane-test.iam.gserviceaccount.com",
            "network": "projects/123456789012/global/networks/lane",
            "encryption_key": "projects/tunelane-test/locations/europe-west4/keyRings/r/cryptoKeys/k",
            "labels": {"team": "text"},
        }
    )
    asked = replace(submission, labels={"trigger": "drift"}, experiment="baseline")
    assert run_request(asked, full) == {
        "parent": "projects/tunelane-test/locations/europe-west4",
        "pipelineJobId": submission.run_id,
        "pipelineJob": {
            "displayName": "Train classifier",
            "pipelineSpec": submission.spec,
            "labels": {
                "team": "text",
                "trigger": "drift",
                "tunelane-run": submission.run_id,
                "tunelane-pipeline": "train-classifier",
                "tunelane-experiment": "baseline",
            },
            "runtimeConfig": {
                "gcsOutputDirectory": "gs://tunelane-test-ew4/runs",
                "parameterValues": submission.parameters,
                "failurePolicy": "PIPELINE_FAILURE_POLICY_FAIL_FAST",
            },
            "serviceAccount": "runner@tunelane-test.iam.gserviceaccount.com",
            "network": "projects/123456789012/global/networks/lane",
            "encryptionSpec": {"kmsKeyName": full.encryption_key},
        },
    }


def test_what_is_not_set_is_not_in_the_request(submission: Submission, settings: GcpSettings) -> None:
    job = run_request(submission, settings)["pipelineJob"]
    assert not job.keys() & {"serviceAccount", "network", "encryptionSpec", "templateUri"}
    assert not any(key == "tunelane-experiment" for key in job["labels"])


def test_every_field_is_one_of_the_service(submission: Submission, settings: GcpSettings) -> None:
    request = run_request(submission, settings)
    message = json_format.ParseDict(request, CreatePipelineJobRequest.pb(CreatePipelineJobRequest()))
    assert json_format.MessageToDict(message) == request


def test_a_run_that_fails_slowly_says_so(submission: Submission, settings: GcpSettings) -> None:
    config = run_request(replace(submission, fail_fast=False), settings)["pipelineJob"]["runtimeConfig"]
    assert config["failurePolicy"] == "PIPELINE_FAILURE_POLICY_FAIL_SLOW"


def test_without_caching_no_task_of_any_branch_takes_an_earlier_result(
    submission: Submission, settings: GcpSettings
) -> None:
    before = deepcopy(submission.spec)
    spec = run_request(replace(submission, caching=False), settings)["pipelineJob"]["pipelineSpec"]
    dags = [part["dag"] for part in (spec["root"], *spec["components"].values()) if "dag" in part]
    options = [task["cachingOptions"] for dag in dags for task in dag["tasks"].values()]
    assert options == [{"enableCache": False}] * 7
    assert submission.spec == before, "the caller's pipeline was changed"


def test_a_schedule_leaves_the_id_of_its_runs_to_the_service(submission: Submission, settings: GcpSettings) -> None:
    request = run_request(submission, settings)
    del request["pipelineJobId"]
    assert scheduled_request(submission, settings) == request


def test_a_template_is_named_after_its_content(submission: Submission, settings: GcpSettings) -> None:
    repository = "europe-west4-kfp.pkg.dev/tunelane-test/templates"
    kept = settings.model_copy(update={"template_repository": repository})
    uris = [
        run_request(asked, kept)["pipelineJob"]["templateUri"]
        for asked in (submission, submission, replace(submission, caching=False))
    ]
    assert uris[0].startswith(f"https://{repository}/train-classifier/")
    assert uris[0] == uris[1] != uris[2]


@pytest.mark.parametrize("run_id", ["", "Train-1", "1-train", "train_1", "a" * 64, "train 1"])
def test_a_run_id_that_the_service_would_not_take_is_refused(
    run_id: str, submission: Submission, settings: GcpSettings
) -> None:
    with pytest.raises(InputError, match="run id"):
        run_request(replace(submission, run_id=run_id), settings)


@given(
    key=st.text(alphabet="aZ0-_. é", min_size=0, max_size=65),
    value=st.text(alphabet="aZ0-_. é", min_size=0, max_size=65),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_label_is_sent_as_it_is_or_refused(
    key: str, value: str, submission: Submission, settings: GcpSettings
) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    is_fit = key[:1].isalpha() and {*key, *value} <= allowed and len(key) <= 63 and len(value) <= 63
    asked = replace(submission, labels={key: value})
    if is_fit:
        assert run_request(asked, settings)["pipelineJob"]["labels"][key] == value
    else:
        with pytest.raises(InputError, match="label"):
            run_request(asked, settings)


def test_too_many_labels_are_refused(submission: Submission, settings: GcpSettings) -> None:
    asked = replace(submission, labels={f"label-{number}": "" for number in range(63)})
    with pytest.raises(InputError, match="65 labels are too many"):
        run_request(asked, settings)


def test_a_caller_cannot_replace_the_label_a_run_is_found_by(submission: Submission, settings: GcpSettings) -> None:
    request = run_request(replace(submission, labels={"tunelane-run": "other"}), settings)
    assert request["pipelineJob"]["labels"]["tunelane-run"] == submission.run_id


@pytest.mark.parametrize("experiment", ["one", "Base line", "base_line", "-base", "b" * 64])
def test_an_experiment_that_could_not_be_made_is_refused_before_the_run_starts(
    experiment: str, submission: Submission, settings: GcpSettings
) -> None:
    with pytest.raises(InputError, match=r"experiment .* cannot be used"):
        run_request(replace(submission, experiment=experiment), settings)


@pytest.mark.parametrize("display_name", ["", "x" * 129])
def test_a_display_name_of_the_wrong_length_is_refused(
    display_name: str, submission: Submission, settings: GcpSettings
) -> None:
    with pytest.raises(InputError, match="not 1 to 128"):
        run_request(replace(submission, display_name=display_name), settings)


@pytest.mark.parametrize("name", ["project", "region", "pipeline_root"])
def test_a_missing_setting_is_named_with_its_variable(name: str, settings: GcpSettings) -> None:
    with pytest.raises(InputError, match=f"No gcp.{name}. Set TUNELANE_GCP__{name.upper()}"):
        check_settings(settings.model_copy(update={name: ""}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", "europe-west4-a"),
        ("pipeline_root", "/home/me/runs"),
        ("service_account", "runner"),
        ("network", "default"),
        ("network", "projects/my-project/global/networks/default"),
        ("encryption_key", "my-key"),
        ("template_repository", "https://europe-west4-kfp.pkg.dev/p/r"),
        ("labels", {"Team": "x"}),
    ],
)
def test_a_setting_of_another_form_is_refused(name: str, value: Any, settings: GcpSettings) -> None:
    with pytest.raises(InputError):
        check_settings(settings.model_copy(update={name: value}))


def test_a_dry_run_imports_no_client() -> None:
    code = (
        "import sys\n"
        "from tunelane_pipelines.settings.sections import GcpSettings\n"
        "from tunelane_pipelines.targets.vertex.target import VertexTarget\n"
        "from tunelane_pipelines.targets.target import Submission\n"
        "target = VertexTarget(GcpSettings(project='my-project', region='europe-west4', pipeline_root='gs://abc'))\n"
        "target.request(Submission('r', 'p', 'P', {'pipelineInfo': {'name': 'p'}}, {}))\n"
        "clients = ('google.cloud.', 'google.api_core', 'google.auth', 'google.protobuf', 'grpc', 'kfp', 'requests')\n"
        "print([name for name in sys.modules if name.startswith(clients)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
