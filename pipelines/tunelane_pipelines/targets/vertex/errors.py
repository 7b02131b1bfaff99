"""What Google's clients raise, in words that say what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tunelane_pipelines.targets.errors import (
    NoSuchResource,
    NotAllowed,
    QuotaExceeded,
    Refused,
    ServiceAway,
    ServiceDisabled,
)
from tunelane_serving.errors import TunelaneError

# The least role that has each permission we need: https://cloud.google.com/iam/docs/roles-permissions
_ROLE_BY_PERMISSION = {
    "aiplatform.contexts.addContextChildren": "roles/aiplatform.user",
    "aiplatform.contexts.create": "roles/aiplatform.user",
    "aiplatform.contexts.get": "roles/aiplatform.user",
    "aiplatform.customJobs.create": "roles/aiplatform.user",
    "aiplatform.customJobs.list": "roles/aiplatform.viewer",
    "aiplatform.pipelineJobs.cancel": "roles/aiplatform.user",
    "aiplatform.pipelineJobs.create": "roles/aiplatform.user",
    "aiplatform.pipelineJobs.get": "roles/aiplatform.viewer",
    "aiplatform.pipelineJobs.list": "roles/aiplatform.viewer",
    "aiplatform.schedules.create": "roles/aiplatform.user",
    "aiplatform.schedules.delete": "roles/aiplatform.user",
    "aiplatform.schedules.get": "roles/aiplatform.viewer",
    "aiplatform.schedules.list": "roles/aiplatform.viewer",
    "aiplatform.schedules.update": "roles/aiplatform.user",
    "aiplatform.metadataStores.get": "roles/aiplatform.user",
    "artifactregistry.repositories.downloadArtifacts": "roles/artifactregistry.reader",
    "artifactregistry.repositories.uploadArtifacts": "roles/artifactregistry.writer",
    "cloudkms.cryptoKeyVersions.useToEncrypt": "roles/cloudkms.cryptoKeyEncrypterDecrypter",
    "iam.serviceAccounts.actAs": "roles/iam.serviceAccountUser",
    "logging.logEntries.list": "roles/logging.viewer",
    "serviceusage.services.use": "roles/serviceusage.serviceUsageConsumer",
    "secretmanager.versions.access": "roles/secretmanager.secretAccessor",
    "storage.buckets.get": "roles/storage.bucketViewer",
    "storage.objects.create": "roles/storage.objectUser",
    "storage.objects.delete": "roles/storage.objectUser",
    "storage.objects.get": "roles/storage.objectViewer",
    "storage.objects.list": "roles/storage.objectViewer",
    "storage.objects.update": "roles/storage.objectUser",
}
_PERMISSION = re.compile(r"\b[a-z]+\.(?!googleapis|gserviceaccount|google\b)[a-zA-Z]+\.[a-z][a-zA-Z]+\b(?!\.)")
_API = re.compile(r"\b[a-z]+\.googleapis\.com\b")
_QUOTA = re.compile(r"\b[a-z]+\.googleapis\.com/\w+|(?<=quota metric ')[^']+")
_ACT_AS = re.compile(r"permission to act as service.?account:? ?(\S+@\S+\.com)?", re.IGNORECASE)
_ASKED = re.compile(r"^[A-Z]+ https?://\S+: ")
# What gRPC says where no connection could be made at all; after anything else the request may have been carried out.
_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed")
_SIGN_IN = "Sign in: gcloud auth application-default login"
_MAX_WORDS_CHARACTERS = 400

_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _TIMEOUT, _CONFLICT = 401, 403, 404, 408, 409
_TOO_MANY, _CANCELLED, _SERVER = 429, 499, 500


@contextmanager
def plain_errors(doing: str, project: str, permission: str = "", *, creates: bool = False) -> Iterator[None]:
    """Turn what Google's clients raise into errors of `targets.errors`.

    Args:
        doing: what is asked for, after "Cannot".
        project: whose service is asked.
        permission: what the call needs, for where the service does not say what is missing.
        creates: whether a second call would make a second thing, so that it matters that an answer was lost. Whatever
            else is asked for may simply be asked for again.

    Raises:
        ServiceAway: no answer, or one that says to try again.
        TunelaneError: an answer that is no.
    """
    try:
        yield
    except TunelaneError:
        raise
    except Exception as error:
        plain = plain_error(error, doing, project, permission, creates=creates)
        if plain is None:
            raise
        raise plain from error


def plain_error(
    error: Exception, doing: str, project: str, permission: str = "", *, creates: bool = False
) -> TunelaneError | None:
    """Give the error of ours that says what Google's client means; None for one that is no client's."""
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, api.GoogleAPICallError):
        return _answered(error, doing, project, permission, creates)
    if isinstance(error, auth.DefaultCredentialsError):
        return NotAllowed(f"No usable Google Cloud credentials ({_one_line(error)}). {_SIGN_IN}.")
    if isinstance(error, auth.GoogleAuthError):
        if isinstance(error, auth.TransportError) or error.retryable:
            return ServiceAway(f"Cannot {doing}: no access token ({_one_line(error)}). Try again.")
        return NotAllowed(f"Cannot {doing}: Google refuses the credentials ({_one_line(error)}). {_SIGN_IN}.")
    if isinstance(error, OSError | api.GoogleAPIError):  # what requests raises is an OSError, too
        return ServiceAway(f"Cannot {doing}: no answer ({_one_line(error)}). Try again.", is_reply_lost=creates)
    return None


def reply_lost(doing: str) -> ServiceAway:
    """Give the error for an answer that says yes, but not what was made: it cannot be told from one that was lost."""
    return ServiceAway(f"Cannot {doing}: the answer has no name in it. Try again.", is_reply_lost=True)


def _answered(error: Any, doing: str, project: str, permission: str, creates: bool) -> TunelaneError:
    """Sort an answer by its status code, which is the same for gRPC and REST."""
    from google.api_core.exceptions import AlreadyExists

    words = _one_line(_ASKED.sub("", error.message))
    code = int(error.code or _SERVER)
    if act_as := _ACT_AS.search(words):
        return _may_not(doing, "iam.serviceAccounts.actAs", project, account=act_as[1] or "")
    if code == _UNAUTHORISED:
        return NotAllowed(f"Cannot {doing}: Google refuses the credentials ({words}). {_SIGN_IN}.")
    if code == _FORBIDDEN:
        return _forbidden(error, words, doing, project, permission)
    if code == _NOT_FOUND:
        return NoSuchResource(f"Cannot {doing}: {words.rstrip('.')}. Check the name, gcp.project and gcp.region.")
    if code == _TOO_MANY:
        return _too_many(error, words, doing, project)
    if code == _CONFLICT and not isinstance(error, AlreadyExists):
        return ServiceAway(f"Cannot {doing}: something else changed it at the same time ({words}). Try again.")
    if code >= _SERVER and "metadata from plugin failed" in words:
        return _no_token(words, doing)
    if code >= _SERVER or code in (_CANCELLED, _TIMEOUT):
        is_reply_lost = creates and not any(sign in words for sign in _NEVER_SENT)
        return ServiceAway(f"Cannot {doing}: the service is away ({words}). Try again.", is_reply_lost=is_reply_lost)
    return Refused(f"Cannot {doing}: {words.rstrip('.')}. Correct what it names.")


def _forbidden(error: Any, words: str, doing: str, project: str, permission: str) -> TunelaneError:
    """Sort a 403: a service turned off, no billing, no such project, or a permission that is missing."""
    details = error.metadata or {}
    if error.reason == "SERVICE_DISABLED" or "it is disabled" in words or "accessNotConfigured" in words:
        api = details.get("service") or _found(_API, words) or "aiplatform.googleapis.com"
        return ServiceDisabled(
            f"Cannot {doing}: {api} is turned off in {project}. "
            f"Turn it on: gcloud services enable {api} --project={project}."
        )
    if error.reason == "BILLING_DISABLED" or "billing" in words.lower():
        return Refused(
            f"Cannot {doing}: {project} has no active billing account. "
            f"Link one: gcloud billing projects link {project} --billing-account=ACCOUNT."
        )
    if error.reason == "CONSUMER_INVALID" or "resource project" in words:
        return NoSuchResource(f"Cannot {doing}: {project} is no project, or not one of yours. Correct gcp.project.")
    missing = details.get("permission") or _found(_PERMISSION, words) or permission
    if not missing:
        return NotAllowed(f"Cannot {doing}: {words.rstrip('.')}. Ask the owner of {project} for the right.")
    return _may_not(doing, missing, project)


def _may_not(doing: str, permission: str, project: str, account: str = "") -> NotAllowed:
    """Name a missing permission, its role, and the command that grants it: in the project, or on a service account."""
    role = _ROLE_BY_PERMISSION.get(permission)
    if role is None:
        return NotAllowed(f"Cannot {doing}: the permission {permission} is missing. Ask for a role that has it.")
    command = f"gcloud projects add-iam-policy-binding {project}"
    if account:
        command = f"gcloud iam service-accounts add-iam-policy-binding {account}"
    return NotAllowed(
        f"Cannot {doing}: the permission {permission} is missing. Grant {role}: "
        f"{command} --member=user:E-MAIL --role={role}."
    )


def _too_many(error: Any, words: str, doing: str, project: str) -> TunelaneError:
    """Sort a 429: too many calls a minute will pass; a quota that is used up will not.

    https://cloud.google.com/docs/quotas/troubleshoot
    """
    details = error.metadata or {}
    quota = details.get("quota_metric") or _found(_QUOTA, words)
    is_rate = "per minute" in words or "PerMinute" in details.get("quota_limit", "")
    if quota and not is_rate:
        return QuotaExceeded(
            f"Cannot {doing}: the quota {quota} of {project} is used up. Wait for other jobs, or ask for more: "
            f"https://console.cloud.google.com/iam-admin/quotas?project={project}."
        )
    return ServiceAway(f"Cannot {doing}: too many calls ({words}). Try again.", retry_after_s=_retry_after_s(error))


def _no_token(words: str, doing: str) -> TunelaneError:
    """Sort what gRPC says where it could get no access token; it only has the words of the error."""
    if any(sign in words for sign in ("invalid_grant", "invalid_client", "invalid_scope", "Reauthentication")):
        return NotAllowed(f"Cannot {doing}: Google refuses the credentials ({words}). {_SIGN_IN}.")
    return ServiceAway(f"Cannot {doing}: no access token ({words}). Try again.")


def _retry_after_s(error: Any) -> float | None:
    """Read the pause that the service asks for, a `google.rpc.RetryInfo`."""
    for detail in error.details or ():
        if delay := getattr(detail, "retry_delay", None):
            return float(delay.seconds + delay.nanos / 1e9)
    return None


def _found(pattern: re.Pattern[str], words: str) -> str:
    match = pattern.search(words)
    return match[0] if match else ""


def _one_line(words: object) -> str:
    return " ".join(str(words).split())[:_MAX_WORDS_CHARACTERS]
