"""Whether a bucket and a key lie where the runs go."""

import pytest

from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.errors import RegionMismatch
from tunelane_pipelines.targets.vertex.check import check_key, lies_in


@pytest.mark.parametrize(
    ("region", "location", "pair", "expected"),
    [
        ("europe-west4", "EUROPE-WEST4", (), True),
        ("europe-west4", "EUROPE-WEST1", (), False),
        ("europe-west4", "EU", (), True),
        ("europe-west2", "EU", (), False),
        ("europe-west6", "EU", (), False),
        ("us-central1", "EU", (), False),
        ("us-central1", "US", (), True),
        ("northamerica-northeast1", "US", (), False),
        ("asia-east1", "ASIA", (), True),
        ("europe-west4", "EUR4", (), True),
        ("europe-west1", "EUR4", (), False),
        ("us-east1", "NAM4", (), True),
        ("us-east4", "NAM4", (), False),
        ("europe-west1", "EU", ("EUROPE-WEST1", "EUROPE-WEST4"), True),
        ("europe-west3", "EU", ("EUROPE-WEST1", "EUROPE-WEST4"), False),
        ("europe-west4", "", (), False),
    ],
)
def test_a_bucket_lies_in_the_regions_of_its_location(
    region: str, location: str, pair: tuple[str, ...], expected: bool
) -> None:
    assert lies_in(region, location, pair) is expected


def test_a_key_of_another_region_is_refused(settings: GcpSettings) -> None:
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    with pytest.raises(RegionMismatch, match="lies in us-central1, and runs go to europe-west4"):
        check_key(settings.model_copy(update={"encryption_key": key}))


def test_a_key_of_the_region_and_none_at_all_are_fine(settings: GcpSettings) -> None:
    check_key(settings)
    check_key(
        settings.model_copy(update={"encryption_key": "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"})
    )
