"""Google's errors in words."""

from typing import Any

import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.rpc import error_details_pb2

from tunelane_pipelines.targets.errors import (
    NoSuchResource,
    NotAllowed,
    QuotaExceeded,
    Refused,
    ServiceAway,
    ServiceDisabled,
)
from tunelane_pipelines.targets.vertex.errors import plain_error, plain_errors


def _plain(error: Exception, permission: str = "aiplatform.pipelineJobs.create") -> Any:
    found = plain_error(error, "start the run", "my-project", permission, creates=True)
    assert found is not None
    assert "\n" not in str(found)
    return found


def _info(reason: str, **metadata: str) -> dict[str, Any]:
    return {"error_info": error_details_pb2.ErrorInfo(reason=reason, domain="googleapis.com", metadata=metadata)}


def test_a_missing_permission_is_named_with_the_role_and_the_command() -> None:
    found = _plain(
        api.PermissionDenied(
            "Permission 'aiplatform.pipelineJobs.create' denied on resource '//aiplatform.googleapis.com/projects/"
            "my-project/locations/europe-west4' (or it may not exist).",
            **_info("IAM_PERMISSION_DENIED", permission="aiplatform.pipelineJobs.create"),
        )
    )
    assert type(found) is NotAllowed
    assert str(found) == (
        "Cannot start the run: the permission aiplatform.pipelineJobs.create is missing. Grant roles/aiplatform.user: "
        "gcloud projects add-iam-policy-binding my-project --member=user:E-MAIL --role=roles/aiplatform.user."
    )


@pytest.mark.parametrize(
    ("message", "permission"),
    [
        ("Permission 'logging.logEntries.list' denied on resource (or it may not exist).", "logging.logEntries.list"),
        (
            "runner@my-project.iam.gserviceaccount.com does not have storage.buckets.get access to the Google Cloud "
            "Storage bucket. Permission 'storage.buckets.get' denied on resource.",
            "storage.buckets.get",
        ),
        ("The caller does not have permission", "aiplatform.pipelineJobs.create"),
        (
            "See https://aiplatform.googleapis.com/x for runner@p.iam.gserviceaccount.com",
            "aiplatform.pipelineJobs.create",
        ),
    ],
)
def test_a_permission_is_found_in_the_words_or_is_what_the_call_needs(message: str, permission: str) -> None:
    assert f"the permission {permission} is missing. Grant roles/" in str(_plain(api.Forbidden(message)))


@pytest.mark.parametrize(
    ("permission", "role"),
    [
        ("storage.objects.list", "roles/storage.objectViewer"),
        ("storage.objects.delete", "roles/storage.objectUser"),
        ("aiplatform.contexts.addContextChildren", "roles/aiplatform.user"),
        ("aiplatform.customJobs.create", "roles/aiplatform.user"),
    ],
)
def test_what_tasks_and_experiments_need_has_its_role(permission: str, role: str) -> None:
    assert f"Grant {role}: " in str(_plain(api.Forbidden("The caller does not have permission"), permission))


def test_an_account_that_may_not_be_used_is_a_missing_permission() -> None:
    account = "runner@my-project.iam.gserviceaccount.com"
    found = _plain(
        api.InvalidArgument(f"You do not have permission to act as service_account: {account}. (or it may not exist).")
    )
    assert type(found) is NotAllowed
    assert "iam.serviceAccounts.actAs is missing. Grant roles/iam.serviceAccountUser" in str(found)
    assert f"gcloud iam service-accounts add-iam-policy-binding {account} --member" in str(found)


def test_a_service_that_is_off_has_the_command_that_turns_it_on() -> None:
    message = "Vertex AI API has not been used in project 12 before or it is disabled. Enable it by visiting https://x"
    command = "gcloud services enable aiplatform.googleapis.com --project=my-project"
    for info in (_info("SERVICE_DISABLED", service="aiplatform.googleapis.com"), {}):
        found = _plain(api.PermissionDenied(message, **info))
        assert (type(found), command in str(found)) == (ServiceDisabled, True)


def test_a_quota_that_is_used_up_is_named() -> None:
    found = _plain(
        api.ResourceExhausted(
            "The following quota metrics exceed quota limits: "
            "aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus"
        )
    )
    assert type(found) is QuotaExceeded
    assert "aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus of my-project is used up" in str(found)
    assert "https://console.cloud.google.com/iam-admin/quotas?project=my-project" in str(found)


def test_too_many_calls_a_minute_will_pass_after_the_pause_that_is_asked_for() -> None:
    delay = error_details_pb2.RetryInfo()
    delay.retry_delay.seconds = 7
    found = _plain(
        api.ResourceExhausted(
            "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute' of service "
            "'logging.googleapis.com' for consumer 'project_number:12'.",
            details=[delay],
        )
    )
    assert (type(found), found.retry_after_s, found.is_reply_lost) == (ServiceAway, 7.0, False)


@pytest.mark.parametrize(
    ("error", "is_reply_lost"),
    [
        (api.ServiceUnavailable("The service is currently unavailable."), True),
        (api.ServiceUnavailable("failed to connect to all addresses; last error: UNAVAILABLE"), False),
        (api.ServiceUnavailable("DNS resolution failed for europe-west4-aiplatform.googleapis.com:443"), False),
        (api.ServiceUnavailable("Getting metadata from plugin failed with error: HTTPConnectionPool(host=…)"), False),
        (api.DeadlineExceeded("Deadline Exceeded"), True),
        (api.InternalServerError("Internal error encountered."), True),
        (api.BadGateway("bad gateway"), True),
        (api.Unknown("Stream removed"), True),
        (api.Cancelled("Locally cancelled"), True),
        (api.Aborted("There was a conflict."), False),
        (api.TooManyRequests("rateLimitExceeded"), False),
        (requests.ConnectionError("Connection aborted."), True),
        (requests.ReadTimeout("read timed out"), True),
        (ConnectionResetError("reset"), True),
        (api.RetryError("timed out", cause=None), True),
        (auth.TransportError("no route"), False),
        (auth.RefreshError("try later", retryable=True), False),
    ],
)
def test_what_will_pass_is_told_from_what_will_not(error: Exception, is_reply_lost: bool) -> None:
    found = _plain(error)
    assert (type(found), found.is_reply_lost) == (ServiceAway, is_reply_lost)
    assert str(found).endswith("). Try again.")
    repeatable = plain_error(error, "read the run", "my-project")
    assert isinstance(repeatable, ServiceAway) and not repeatable.is_reply_lost


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (api.NotFound("The PipelineJob does not exist."), NoSuchResource),
        (api.InvalidArgument("machine_type is required."), Refused),
        (api.FailedPrecondition("in a terminal state."), Refused),
        (api.AlreadyExists("is there"), Refused),
        (api.OutOfRange("page"), Refused),
        (api.Unauthenticated("Request had invalid authentication credentials."), NotAllowed),
        (api.PermissionDenied("denied", **_info("BILLING_DISABLED")), Refused),
        (api.PermissionDenied("Permission denied on resource project x.", **_info("CONSUMER_INVALID")), NoSuchResource),
        (
            api.ServiceUnavailable("Getting metadata from plugin failed with error: ('invalid_grant: …', {})"),
            NotAllowed,
        ),
        (
            api.ServiceUnavailable("Getting metadata from plugin failed with error: Reauthentication is needed."),
            NotAllowed,
        ),
        (auth.RefreshError("invalid_grant: Token has been expired or revoked."), NotAllowed),
        (auth.DefaultCredentialsError("Your default credentials were not found."), NotAllowed),
    ],
)
def test_what_is_final_is_of_its_kind(error: Exception, kind: type) -> None:
    assert type(_plain(error)) is kind


@pytest.mark.parametrize("error", [api.InvalidArgument("machine_type is required."), api.NotFound("It is not there.")])
def test_the_services_own_words_are_kept(error: Any) -> None:
    assert error.message in str(_plain(error))


def test_long_words_on_many_lines_become_one_short_line() -> None:
    assert len(str(_plain(api.InvalidArgument("wrong\n" * 1000)))) < 500


def test_every_status_of_http_has_an_error_of_ours() -> None:
    kinds = (ServiceAway, NotAllowed, NoSuchResource, Refused, QuotaExceeded, ServiceDisabled)
    for status in range(400, 600):
        assert isinstance(_plain(api.from_http_status(status, "words")), kinds), status


def test_a_mistake_in_our_own_code_is_not_hidden() -> None:
    assert plain_error(KeyError("x"), "start the run", "p") is None
    with pytest.raises(KeyError), plain_errors("start the run", "p"):
        raise KeyError("x")
