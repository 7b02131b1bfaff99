"""A run belongs to one service, and no other is asked for it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.pipelines.added import add_remote
from tests.pipelines.service import Service, no_target
from tunelane_pipelines.runs.services import Elsewhere, belongs, opened
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.targets.target import Recurrence, RemoteTarget
from tunelane_serving.errors import InputError


def test_a_run_belongs_to_the_service_that_it_is_at(tmp_path: Path, service: Service) -> None:
    entry = add_remote(tmp_path, "run", "running", "r")
    assert belongs(entry, service) and opened(entry, "run", service) is service
    assert belongs(entry._replace(service=""), service), "as an older release left it"
    assert not belongs(entry._replace(service="vertex q/europe-west4"), service)
    assert not belongs(entry._replace(target="kubeflow", service=""), service)


def test_another_service_is_named_with_the_way_to_the_right_one(tmp_path: Path, service: Service) -> None:
    entry = add_remote(tmp_path, "run", "running", "r")._replace(service="vertex q/us-central1")
    with pytest.raises(InputError) as caught:
        opened(entry, "run", service)
    assert str(caught.value) == (
        "run is at vertex q/us-central1, and the settings in force name vertex p/europe-west4. Pass the --profile that "
        "it was made with, or set its project and region, or host and namespace."
    )


def test_settings_without_a_service_say_where_the_run_is(tmp_path: Path) -> None:
    entry = add_remote(tmp_path, "run", "running", "r")

    def unset(_name: str) -> RemoteTarget:
        raise InputError("Set TUNELANE_GCP__PROJECT.")

    with pytest.raises(Elsewhere, match=r"run is at vertex p/europe-west4, .* no such service: Set TUNELANE_GCP__PROJ"):
        opened(entry, "run", unset)
    with pytest.raises(InputError, match=r"^Set TUNELANE_GCP__PROJECT\.$"):
        opened(entry._replace(service=""), "run", unset)
    with pytest.raises(AssertionError):
        opened(entry, "run", no_target)


def test_a_schedule_belongs_to_its_service_too(service: Service) -> None:
    recurrence = Recurrence("0 3 * * *")
    record = ScheduleRecord("nightly", "vertex", "convert", recurrence, datetime.now(UTC), service=service.service)
    assert belongs(record, service) and opened(record, "Schedule nightly", service) is service
    with pytest.raises(Elsewhere, match=r"^Schedule nightly is at vertex p/other, and .* name vertex p/europe-west4\."):
        opened(replace(record, service="vertex p/other"), "Schedule nightly", service)
