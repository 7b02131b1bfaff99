"""What the settings name in Google Cloud: whether the data, the taxonomy and the images are there, and the GPUs.

What this account may not see, the account that tasks run as may; so that is a warning.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from tunelane_components.etl.taxonomy import load_taxonomy
from tunelane_pipelines.compiling.resources import VERTEX, Resources, chosen_training, resources_of
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.images import in_artifact_registry, references, short_name
from tunelane_pipelines.doctor.places import TAXONOMY, UPLOAD_ROOT, named_places
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, QuotaExceeded, ServiceAway, ServiceDisabled
from tunelane_pipelines.targets.vertex.check import check_data
from tunelane_pipelines.targets.vertex.clients import CALL_TIMEOUT_S, Clients
from tunelane_pipelines.targets.vertex.errors import plain_errors
from tunelane_serving.errors import InputError, TunelaneError

_SCHEME = "gs://"
_WILD = "*?["
_MAX_TAXONOMY_BYTES = 1_000_000
# Of training, by accelerator; spot machines have their own: https://cloud.google.com/vertex-ai/docs/quotas
_QUOTA_BY_ACCELERATOR = {"NVIDIA_L4": "nvidia_l4_gpus", "NVIDIA_TESLA_A100": "nvidia_a100_gpus"}
_UNLIMITED = -1
_NOT_TOLD = (NotAllowed, ServiceDisabled, ServiceAway)


def check_named(clients: Clients, settings: Settings) -> Iterator[Check]:
    """Look at everything in Google Cloud that the settings name, but the bucket of the runs themselves."""
    written = {name: getattr(settings, name) for name in ("registry_uri", "deployment_uri")}
    for name, uri in (named_places(settings) | written).items():
        if uri.startswith(_SCHEME):
            yield from _told(name, uri, partial(_look_at, clients, settings, name, uri))
    yield from _check_images(clients, settings)
    yield from _check_gpus(clients, settings)


def _told(name: str, found: str, look: Callable[[], object]) -> Iterator[Check]:
    try:
        look()
    except _NOT_TOLD as error:
        yield Check(name, "warning", f"{found} cannot be looked at", str(error))
    except TunelaneError as error:
        yield Check(name, "problem", found, str(error))
    else:
        yield Check(name, "ok", found)


def _look_at(clients: Clients, settings: Settings, name: str, uri: str) -> None:
    """Refuse a bucket outside the runs' region, and what tasks read and is not there; the rest they make."""
    check_data(clients, settings.gcp, {name: uri})
    if name == TAXONOMY:
        _require_taxonomy(clients, uri)
    elif name in named_places(settings) and name != UPLOAD_ROOT:
        _require_objects(clients, uri)


def _require_objects(clients: Clients, uri: str) -> None:
    """Refuse a URI at which there is no object, and below which there is none; of a pattern its fixed part counts."""
    bucket, _, path = uri.removeprefix(_SCHEME).partition("/")
    fixed = path[: next((at for at, character in enumerate(path) if character in _WILD), len(path))]
    prefixes = (fixed,) if fixed != path else (path, f"{path.rstrip('/')}/" if path else "")
    for prefix in prefixes:
        with plain_errors(f"look at {uri}", clients.project, "storage.objects.list"):
            names = [
                blob.name
                for blob in clients.storage.list_blobs(
                    bucket, prefix=prefix, max_results=1, retry=None, timeout=CALL_TIMEOUT_S
                )
            ]
        # A name that only begins so is another object: rows.csv.bak. Without a path it is the whole bucket.
        if names and (prefix != path or names[0] == path or path.endswith("/") or not path):
            return
    raise NoSuchResource(f"There is nothing at {uri}. Copy it there (gcloud storage cp), or correct the setting.")


def _require_taxonomy(clients: Clients, uri: str) -> None:
    _require_objects(clients, uri)
    bucket, _, path = uri.removeprefix(_SCHEME).partition("/")
    with plain_errors(f"read {uri}", clients.project, "storage.objects.get"):
        blob = clients.storage.bucket(bucket).blob(path)
        content = blob.download_as_bytes(end=_MAX_TAXONOMY_BYTES, retry=None, timeout=CALL_TIMEOUT_S)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / PurePosixPath(path).name
        copy.write_bytes(content)
        load_taxonomy(copy)


def _check_images(clients: Clients, settings: Settings) -> Iterator[Check]:
    """Whether the registry has each image; one in another registry than Google's is not asked for."""
    try:
        named = references(settings)
    except InputError:  # said with the settings
        return
    for name, reference in named.items():
        found = in_artifact_registry(reference)
        if found is not None:
            yield from _told(f"image {short_name(name)}", reference, partial(_require_image, clients, found))


def _require_image(clients: Clients, found: re.Match[str]) -> None:
    # https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.packages.tags/get
    package = (
        f"projects/{found['project']}/locations/{found['location']}/repositories/{found['repository']}"
        f"/packages/{quote(found['image'], safe='')}"
    )
    version = f"versions/{found['digest']}" if found["digest"] else f"tags/{found['tag'] or 'latest'}"
    try:
        with plain_errors("look at the image", found["project"], "artifactregistry.repositories.downloadArtifacts"):
            _get(clients, f"https://artifactregistry.googleapis.com/v1/{package}/{version}")
    except NoSuchResource as error:
        raise NoSuchResource(
            f"No image {found[0]}. Push it (docs/cloud.md), or correct the file that images names."
        ) from error


def _check_gpus(clients: Clients, settings: Settings) -> Iterator[Check]:
    """Whether the project may have the GPUs that training is given, in the runs' region."""
    try:
        training = chosen_training(settings.gpu, settings.gcp)
        resources = resources_of("train_lora", VERTEX, training)
    except InputError:  # said with the settings
        return
    found = _machine(resources, training.replicas)
    quota = _QUOTA_BY_ACCELERATOR.get(resources.machine.accelerator)
    if quota is None:
        yield Check("training machine", "ok", found)
        return
    metric = f"aiplatform.googleapis.com/custom_model_training_{'preemptible_' if training.spot else ''}{quota}"
    wanted = training.replicas * resources.machine.accelerator_count
    yield from _told("training machine", found, partial(_require_quota, clients, settings.gcp.region, metric, wanted))


def _machine(resources: Resources, replicas: int) -> str:
    machine = resources.machine
    gpu = f" with {machine.accelerator_count} {machine.accelerator}" if machine.accelerator else ""
    return f"{resources.custom_job_type}{gpu}" + (f", {replicas} of them" if replicas > 1 else "")


def _require_quota(clients: Clients, region: str, metric: str, wanted: int) -> None:
    # https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services.consumerQuotaMetrics/get
    service = f"projects/{clients.project}/services/aiplatform.googleapis.com"
    with plain_errors("look at the quota of GPUs", clients.project, "serviceusage.quotas.get"):
        answer = _get(
            clients,
            f"https://serviceusage.googleapis.com/v1beta1/{service}/consumerQuotaMetrics/{quote(metric, safe='')}",
        )
    limit = quota_in(answer, region)
    if limit != _UNLIMITED and limit < wanted:
        raise QuotaExceeded(
            f"The quota {metric} is {limit} in {region}, and training wants {wanted}. Ask for more: "
            f"https://console.cloud.google.com/iam-admin/quotas?project={clients.project}."
        )


def quota_in(metric: Any, region: str) -> int:
    """Give the limit of a `ConsumerQuotaMetric` in a region: the most specific bucket counts, and comes last.

    https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services.consumerQuotaMetrics.limits
    """
    limits = [
        int(bucket.get("effectiveLimit", 0))
        for limit in metric.get("consumerQuotaLimits", [])
        for bucket in limit.get("quotaBuckets", [])
        if bucket.get("dimensions", {}).get("region", region) == region
    ]
    return limits[-1] if limits else 0


def _get(clients: Clients, url: str) -> Any:
    from google.api_core.exceptions import from_http_response

    answer = clients.registry.get(url, timeout=CALL_TIMEOUT_S)
    if not answer.ok:
        raise from_http_response(answer)
    return answer.json()
