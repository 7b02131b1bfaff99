"""The ways in and out: who is let in, what is refused, and that other processes come here too."""

import json
import os
import subprocess
import sys
import urllib.request
from urllib.error import HTTPError

import google.auth
import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import aiplatform_v1, resourcemanager_v3

from tests.cloud.bench.contract import path_pattern

_JOBS = "https://europe-west4-aiplatform.googleapis.com/v1/projects/tunelane-test/locations/europe-west4/pipelineJobs"
_ELSEWHERE = """
import urllib.request
from google.cloud import aiplatform_v1
client = aiplatform_v1.PipelineServiceClient(client_options={"api_endpoint": "europe-west4-aiplatform.googleapis.com"})
print(len(list(client.list_pipeline_jobs(parent="projects/tunelane-test/locations/europe-west4"))))
"""


@pytest.fixture
def session(bench):
    credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    assert project == bench.project
    return AuthorizedSession(credentials)


def test_the_contract_is_that_of_the_clients(bench):
    names = {method.name for method in bench.contract.methods.values()}
    assert {"CreatePipelineJob", "PauseSchedule", "CreateCustomJob", "UploadModel", "DeployModel"} <= names
    assert {"GetProject", "TestIamPermissions", "CreateService", "ListLogEntries", "GetOperation"} <= names
    assert len(bench.contract.methods) > 100
    path = "/v1/projects/p/locations/l/pipelineJobs/one:cancel"
    route, fields = bench.contract.route("europe-west4-aiplatform.googleapis.com", "POST", path)
    assert (route.method.name, fields) == (
        "CancelPipelineJob", {"name": "projects/p/locations/l/pipelineJobs/one"},
    )  # fmt: skip


def test_a_route_matches_its_path_alone():
    pattern = path_pattern("/v1/{job.name=projects/*/jobs/*}:cancel")
    assert pattern.match("/v1/projects/p/jobs/1:cancel").groupdict() == {"job__name": "projects/p/jobs/1"}
    assert pattern.match("/v1/projects/p/jobs/1") is None
    assert pattern.match("/v1/projects/p/q/jobs/1:cancel") is None


def test_who_has_no_credentials_is_refused(bench, vertex_options, vertex_parent):
    client = aiplatform_v1.PipelineServiceClient(credentials=AnonymousCredentials(), client_options=vertex_options)
    with pytest.raises(exceptions.Unauthenticated):
        list(client.list_pipeline_jobs(parent=vertex_parent))


def test_a_forged_token_is_refused(bench):
    assert requests.get(_JOBS, headers={"Authorization": "Bearer forged"}, timeout=20).status_code == 401


def test_unknown_fields_are_refused(session):
    refused = session.post(_JOBS, json={"displayName": "small", "colour": "red"}, timeout=20)
    assert refused.status_code == 400
    assert "colour" in refused.json()["error"]["message"]
    assert session.get(_JOBS, params={"colour": "red"}, timeout=20).status_code == 400


def test_a_method_that_is_not_faked_is_refused_and_remembered(session, bench):
    assert session.get(_JOBS.replace("pipelineJobs", "featurestores"), timeout=20).status_code == 404
    assert bench.unknown == [f"GET {_JOBS.replace('pipelineJobs', 'featurestores')}"]
    bench.unknown.clear()


@pytest.mark.parametrize(
    "url", ["https://example.com/", "https://pypi.org/simple/", "http://metadata.google.internal/"]
)
def test_every_other_host_is_refused_and_remembered(bench, url):
    with pytest.raises((OSError, HTTPError)):
        urllib.request.urlopen(url, timeout=20)
    (refusal,) = bench.refused
    assert url.split("/")[2] in refusal
    bench.refused.clear()


def test_another_process_comes_here_by_its_environment_alone(bench, pipeline_client, vertex_parent, small_job):
    pipeline_client.create_pipeline_job(parent=vertex_parent, pipeline_job=small_job, pipeline_job_id="one")
    said = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE],
        env={"PATH": os.environ["PATH"], **bench.environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stdout.split() == ["1"]
    assert [call.method for call in bench.calls] == ["CreatePipelineJob", "ListPipelineJobs"]


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_project_is_known_by_both_its_names(bench, transport):
    client = resourcemanager_v3.ProjectsClient(transport=transport)
    for name in (bench.project, bench.project_number):
        project = client.get_project(name=f"projects/{name}", timeout=20)
        assert (project.name, project.project_id) == (f"projects/{bench.project_number}", bench.project)
    with pytest.raises(exceptions.Forbidden):
        client.get_project(name="projects/other", timeout=20)


def test_permissions_are_told(bench):
    client = resourcemanager_v3.ProjectsClient()
    bench.projects.missing_permissions.add("aiplatform.pipelineJobs.create")
    wanted = ["aiplatform.pipelineJobs.create", "aiplatform.pipelineJobs.get"]
    held = client.test_iam_permissions(resource=f"projects/{bench.project}", permissions=wanted)
    assert list(held.permissions) == ["aiplatform.pipelineJobs.get"]


def test_an_error_over_rest_has_googles_form(session, bench):
    error = session.get(f"{_JOBS}/none", timeout=20).json()["error"]
    assert (error["code"], error["status"]) == (404, "NOT_FOUND")
    assert json.dumps(error)
