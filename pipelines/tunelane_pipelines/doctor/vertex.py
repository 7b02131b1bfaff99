"""Vertex AI: whether the settings are of their form, and whether Google lets this account do what a run needs."""

from collections.abc import Callable, Iterator

from tunelane_pipelines.doctor.check import Check, looked_at
from tunelane_pipelines.doctor.lane import check_models, registry_lies_here
from tunelane_pipelines.doctor.vertex_named import check_named
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.vertex.check import check_key, check_places
from tunelane_pipelines.targets.vertex.clients import CALL_TIMEOUT_S, Clients
from tunelane_pipelines.targets.vertex.errors import plain_error, plain_errors
from tunelane_pipelines.targets.vertex.request import check_settings, location
from tunelane_serving.errors import TunelaneError

# Settings of the right form, into which one at a time is put to see whether it is.
_SOUND = GcpSettings(project="my-project", region="europe-west4", pipeline_root="gs://my-bucket/runs")

_ON_PROJECT = (
    "aiplatform.pipelineJobs.create",
    "aiplatform.pipelineJobs.get",
    "aiplatform.pipelineJobs.list",
    "aiplatform.pipelineJobs.cancel",
    "aiplatform.schedules.create",
    "aiplatform.schedules.update",
    "aiplatform.schedules.delete",
    # The logs of training, and --experiment.
    "aiplatform.customJobs.list",
    "aiplatform.contexts.get",
    "aiplatform.contexts.create",
    "aiplatform.contexts.addContextChildren",
    "logging.logEntries.list",
)
# Training is started by a task: https://cloud.google.com/vertex-ai/docs/pipelines/customjob-component
_TASKS_ON_PROJECT = ("aiplatform.customJobs.create", "aiplatform.customJobs.get")
_TASKS_ON_BUCKET = ("storage.objects.create", "storage.objects.get", "storage.objects.list")
_ACT_AS = "iam.serviceAccounts.actAs"


def check_gcp_forms(settings: GcpSettings) -> Iterator[Check]:
    """Whether each setting is there and of its form, and the key in the runs' region; asks nobody."""
    is_sound = True
    for name in GcpSettings.model_fields:
        value = getattr(settings, name)
        try:
            check_settings(_SOUND.model_copy(update={name: value}))
        except TunelaneError as error:
            is_sound = False
            yield Check(f"gcp.{name}", "problem", str(value or "none"), str(error))
    if is_sound:
        yield from looked_at("gcp.encryption_key", settings.encryption_key or "none", lambda: check_key(settings))
        if not settings.service_account:
            yield Check(
                "gcp.service_account",
                "warning",
                "none: tasks run as the project's default account, which may do far more than they need",
                "Set gcp.service_account to an account with the roles of docs/cloud.md.",
            )


def check_vertex(all_settings: Settings) -> Iterator[Check]:
    """Every check that needs Google, on settings that are of their form: a problem of one keeps no other back."""
    settings = all_settings.gcp
    clients = Clients(settings.project, settings.region)
    credentials = _check_credentials(clients)
    yield credentials
    if credentials.level == "problem":
        return
    yield from looked_at("pipelines API", settings.region, lambda: _list_jobs(clients, settings))
    yield from looked_at("schedules API", settings.region, lambda: _list_schedules(clients, settings))
    yield from looked_at("logging API", settings.project, lambda: _list_log(clients))
    bucket = settings.pipeline_root.removeprefix("gs://").partition("/")[0]
    yield from looked_at("bucket", f"gs://{bucket} for {settings.region}", lambda: check_places(clients, settings))
    yield from _check_on_bucket(clients, settings, bucket)
    if settings.template_repository:
        repository = settings.template_repository
        yield from looked_at("templates", repository, lambda: _list_templates(clients, repository))
    yield from _check_on_project(clients, settings)
    yield from check_named(clients, all_settings)
    if not registry_lies_here(all_settings):
        yield from check_models(all_settings, is_asked=True)


def _check_credentials(clients: Clients) -> Check:
    """Whether there are credentials, and Google gives a token for them."""
    try:
        credentials = clients.registry.credentials
        from google.auth.transport.requests import Request

        with plain_errors("get an access token", clients.project):
            credentials.refresh(Request())
    except TunelaneError as error:
        return Check("credentials", "problem", "cannot be used", str(error))
    return Check("credentials", "ok", _account(clients) or "a user's")


def _account(clients: Clients) -> str:
    """The service account that is signed in; empty for a user. A machine's is known once it has had a token."""
    return getattr(clients.registry.credentials, "service_account_email", "")


def _list_jobs(clients: Clients, settings: GcpSettings) -> None:
    request = {"parent": location(settings), "page_size": 1}
    with plain_errors("list the runs", clients.project, "aiplatform.pipelineJobs.list"):
        clients.pipelines.list_pipeline_jobs(request, retry=None, timeout=CALL_TIMEOUT_S)


def _list_schedules(clients: Clients, settings: GcpSettings) -> None:
    request = {"parent": location(settings), "page_size": 1}
    with plain_errors("list the schedules", clients.project, "aiplatform.schedules.list"):
        clients.schedules.list_schedules(request, retry=None, timeout=CALL_TIMEOUT_S)


def _list_log(clients: Clients) -> None:
    request = {"resource_names": [f"projects/{clients.project}"], "page_size": 1}
    with plain_errors("read the log", clients.project, "logging.logEntries.list"):
        clients.logs.list_log_entries(request, retry=None, timeout=CALL_TIMEOUT_S)


def _list_templates(clients: Clients, repository: str) -> None:
    # https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.packages/list
    from google.api_core.exceptions import from_http_response

    host, project, name = repository.split("/")
    region = host.removesuffix("-kfp.pkg.dev")
    parent = f"projects/{project}/locations/{region}/repositories/{name}"
    with plain_errors("list the templates", project, "artifactregistry.repositories.downloadArtifacts"):
        url = f"https://artifactregistry.googleapis.com/v1/{parent}/packages"
        answer = clients.registry.get(url, params={"pageSize": "1"}, timeout=CALL_TIMEOUT_S)
        if not answer.ok:
            raise from_http_response(answer)


def _check_on_bucket(clients: Clients, settings: GcpSettings, bucket: str) -> Iterator[Check]:
    """What tasks may do with the bucket, which only the account itself can ask."""
    # https://cloud.google.com/storage/docs/json_api/v1/buckets/testIamPermissions
    account = settings.service_account
    if account and account != _account(clients):
        yield Check(
            "bucket permissions",
            "info",
            f"what {account} may do there cannot be asked as another account; tasks need roles/storage.objectUser",
            f"gcloud storage buckets get-iam-policy gs://{bucket}",
        )
        return

    def held() -> list[str]:
        with plain_errors(f"ask for the permissions on gs://{bucket}", clients.project):
            handle = clients.storage.bucket(bucket)
            return list(handle.test_iam_permissions(list(_TASKS_ON_BUCKET), timeout=CALL_TIMEOUT_S, retry=None))

    yield from _check_permissions("bucket permissions", _TASKS_ON_BUCKET, held, f"use gs://{bucket}", clients.project)


def _check_on_project(clients: Clients, settings: GcpSettings) -> Iterator[Check]:
    # https://cloud.google.com/resource-manager/reference/rest/v3/projects/testIamPermissions
    wanted = (*_ON_PROJECT, *(_TASKS_ON_PROJECT if settings.service_account == _account(clients) else ()))
    asked = (*wanted, _ACT_AS)
    granted: list[str] = []

    def held() -> list[str]:
        from google.cloud.resourcemanager_v3 import ProjectsClient

        with plain_errors("ask for the permissions on the project", clients.project):
            client = ProjectsClient(credentials=clients.registry.credentials)
            answer = client.test_iam_permissions(
                resource=f"projects/{clients.project}", permissions=asked, retry=None, timeout=CALL_TIMEOUT_S
            )
        granted.extend(answer.permissions)
        return granted

    yield from _check_permissions("permissions", wanted, held, "use Vertex AI", clients.project)
    if granted and settings.service_account and _ACT_AS not in granted:
        account = settings.service_account
        yield Check(
            "service account",
            "warning",
            f"{_ACT_AS} is not granted on the project; whether it is on {account} itself cannot be asked here",
            f"gcloud iam service-accounts add-iam-policy-binding {account} --member=user:E-MAIL "
            "--role=roles/iam.serviceAccountUser",
        )


def _check_permissions(
    name: str, wanted: tuple[str, ...], held: Callable[[], list[str]], doing: str, project: str
) -> Iterator[Check]:
    """One line for all that are there, and one for each that is missing, with the role that has it."""
    try:
        missing = sorted(set(wanted) - set(held()))
    except TunelaneError as error:
        # Nothing but this question needs the API that answers it.
        yield Check(name, "warning", "cannot be asked for", str(error))
        return
    if not missing:
        yield Check(name, "ok", f"all {len(wanted)} that are needed")
    for permission in missing:
        yield Check(name, "problem", f"{permission} is missing", _advice(permission, doing, project))


def _advice(permission: str, doing: str, project: str) -> str:
    """Say what the service's own refusal would have us say."""
    from google.api_core.exceptions import PermissionDenied

    return str(plain_error(PermissionDenied(f"Permission {permission!r} denied."), doing, project, permission))
