"""What would make a run fail later, or take data out of its region, and can be seen before: where buckets and keys lie.

https://cloud.google.com/storage/docs/locations
"""

import re
from collections.abc import Iterable, Mapping

from tunelane_components.bucket import is_bucket_name
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, RegionMismatch
from tunelane_pipelines.targets.vertex.clients import CALL_TIMEOUT_S, Clients
from tunelane_pipelines.targets.vertex.errors import plain_errors

_DUAL_REGIONS = {
    "ASIA1": ("asia-northeast1", "asia-northeast2"),
    "EUR4": ("europe-north1", "europe-west4"),
    "EUR5": ("europe-west1", "europe-west2"),
    "EUR7": ("europe-west2", "europe-west3"),
    "EUR8": ("europe-west3", "europe-west6"),
    "NAM4": ("us-central1", "us-east1"),
}
_MULTI_REGIONS = {"ASIA": "asia-", "EU": "europe-", "US": "us-"}
# London and Zurich lie in no member state.
_NOT_IN_EU = ("europe-west2", "europe-west6")
_BUCKET = re.compile(r"gs://([^/]+)")


def check_places(clients: Clients, settings: GcpSettings) -> None:
    """Refuse a bucket that does not lie in the runs' region, and a key of another one.

    Raises:
        RegionMismatch: one of them lies elsewhere.
        NoSuchResource: there is no such bucket.
        ServiceAway: Cloud Storage does not answer.
        NotAllowed: it may not be asked.
    """
    check_key(settings)
    name = _bucket_of(settings.pipeline_root)
    try:
        place = _place_elsewhere(clients, name, settings.region)
    except NoSuchResource as error:
        raise NoSuchResource(
            f"No bucket gs://{name}. Make it: gcloud storage buckets create gs://{name} "
            f"--project={settings.project} --location={settings.region}, or correct gcp.pipeline_root."
        ) from error
    if place:
        raise RegionMismatch(
            f"gs://{name} lies in {place}, and runs go to {settings.region}. "
            f"Set gcp.pipeline_root to a bucket in {settings.region}, or gcp.region to the bucket's."
        )


def check_data(clients: Clients, settings: GcpSettings, parameters: Mapping[str, object]) -> None:
    """Refuse parameters that name buckets which do not lie in the runs' region, unless the settings allow it.

    A bucket of somebody else, whose place this account may not ask for, is taken as it is: the tasks' account may well
    read it. Each bucket is asked for once.

    Raises:
        RegionMismatch: one lies elsewhere.
        NoSuchResource: there is no such bucket.
        ServiceAway: Cloud Storage does not answer.
    """
    if settings.allow_other_regions:
        return
    names_by_bucket: dict[str, list[str]] = {}
    for name, value in parameters.items():
        bucket = _bucket_of(value)
        if bucket and bucket != _bucket_of(settings.pipeline_root):
            names_by_bucket.setdefault(bucket, []).append(name)
    for bucket, names in names_by_bucket.items():
        whose = f"{'parameter' if len(names) == 1 else 'parameters'} {', '.join(names)}"
        missing = NoSuchResource(f"No bucket gs://{bucket}, which is in {whose}. Correct the URI.")
        if not is_bucket_name(bucket):
            raise missing
        try:
            place = _place_elsewhere(clients, bucket, settings.region)
        except NotAllowed:
            continue
        except NoSuchResource as error:
            raise missing from error
        if place:
            raise RegionMismatch(
                f"gs://{bucket} ({whose}) lies in {place}, and runs go to {settings.region}. Use a bucket in "
                f"{settings.region}, or set gcp.allow_other_regions to let data cross regions."
            )


def _bucket_of(value: object) -> str:
    """Give the bucket of a gs:// URI; empty for anything else."""
    match = _BUCKET.match(value) if isinstance(value, str) else None
    return match[1] if match else ""


def _place_elsewhere(clients: Clients, name: str, region: str) -> str:
    """Give where a bucket lies, in lower case; empty where that is in the region."""
    with plain_errors(f"look at gs://{name}", clients.project, "storage.buckets.get"):
        bucket = clients.storage.get_bucket(name, timeout=CALL_TIMEOUT_S, retry=None)
    if lies_in(region, bucket.location or "", bucket.data_locations or ()):
        return ""
    return (bucket.location or "no known place").lower()


def check_key(settings: GcpSettings) -> None:
    """Refuse an encryption key of another region; asks nobody.

    Raises:
        RegionMismatch: the service takes only a key of the region that it works in.
    """
    if not settings.encryption_key:
        return
    place = settings.encryption_key.split("/")[3]
    if place != settings.region:
        raise RegionMismatch(
            f"gcp.encryption_key lies in {place}, and runs go to {settings.region}. Name a key in {settings.region}."
        )


def lies_in(region: str, location: str, data_locations: Iterable[str] = ()) -> bool:
    """Whether a bucket's data lies in a region.

    Args:
        region: as Vertex AI writes it: europe-west4.
        location: as Cloud Storage does: EUROPE-WEST4, EU (a multi-region), EUR4 (a pair of regions), or for a pair that
            the bucket's owner chose, its continent.
        data_locations: such a pair.
    """
    if pair := tuple(place.lower() for place in data_locations):
        return region in pair
    place = location.upper()
    if place in _DUAL_REGIONS:
        return region in _DUAL_REGIONS[place]
    if place in _MULTI_REGIONS:
        return region.startswith(_MULTI_REGIONS[place]) and not (place == "EU" and region in _NOT_IN_EU)
    return region == location.lower()
