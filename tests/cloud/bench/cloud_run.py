"""Cloud Run services: revisions, and how traffic is divided among them.

Rules: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2 and
https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration.
"""

import copy
import re
from typing import Any

from google.cloud import run_v2

from tests.cloud.bench.errors import ApiError, invalid
from tests.cloud.bench.state import PROJECT_NUMBER, REGION, State, check_etag, merged

_SERVICE_ID = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")
_BY_REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
_LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST


class CloudRun:
    """The services. Their names keep the project as it was named."""

    service = "google.cloud.run.v2.Services"

    def __init__(self, state: State) -> None:
        self._state = state
        self.reset()

    def reset(self) -> None:
        self.revisions: dict[str, list[str]] = {}
        """Names of each service's revisions, the oldest first."""

    def create_service(self, request: Any) -> Any:
        if not _SERVICE_ID.fullmatch(request.service_id):
            raise invalid(f"Invalid service_id {request.service_id}: less than 50 characters of [a-z][-a-z0-9].")
        name = f"{request.parent}/services/{request.service_id}"
        if name in self._state.resources:
            raise ApiError("ALREADY_EXISTS", f"Resource {name} already exists.")
        service = copy.deepcopy(request.service)
        service.name = name
        made = self._roll_out(service, None)
        if not request.validate_only:
            self._state.add(name, service)
            self.revisions[name] = made
        return self._state.begin(request.parent, service, service)

    def get_service(self, request: Any) -> Any:
        return self._state.get(request.name)

    def list_services(self, request: Any) -> Any:
        response = run_v2.ListServicesResponse.pb()()
        for service in self._state.children(request.parent, "services"):
            response.services.append(service)
        return response

    def update_service(self, request: Any) -> Any:
        kept = self._state.get(request.service.name)
        check_etag(request.service.etag, kept.etag)
        changed = copy.deepcopy(kept)
        if request.update_mask.paths:
            for path in request.update_mask.paths:
                changed.ClearField(path.split(".")[0])
            merged(changed, request.service, request.update_mask)
        else:
            changed.CopyFrom(request.service)
            changed.generation = kept.generation
            changed.create_time.CopyFrom(kept.create_time)
        made = self._roll_out(changed, kept)
        if not request.validate_only:
            self.revisions[changed.name] = made
            changed.update_time.CopyFrom(self._state.stamp())
            kept.CopyFrom(changed)
        return self._state.begin(changed.name.rsplit("/", 2)[0], changed, changed)

    def delete_service(self, request: Any) -> Any:
        check_etag(request.etag, self._state.get(request.name).etag)
        service = copy.deepcopy(self._state.get(request.name))
        self._state.remove(request.name)
        return self._state.begin(request.name.rsplit("/", 2)[0], service, service)

    def _roll_out(self, service: Any, before: Any) -> list[str]:
        """Make the revision that a changed template is, and point the traffic. Gives the revisions there are then."""
        service_id = service.name.rsplit("/", 1)[1]
        revisions = [] if before is None else list(self.revisions[service.name])
        service.generation += 1
        if before is None or before.template != service.template:
            if not service.template.containers or not service.template.containers[0].image:
                raise invalid("template.containers[0].image is required.")
            revision = service.template.revision or f"{service_id}-{service.generation:05d}-abc"
            # "The revision's name has the service's as its prefix": RevisionTemplate.revision.
            if not revision.startswith(f"{service_id}-"):
                raise invalid(f"template.revision must begin with {service_id}-.")
            if revision in revisions:
                raise ApiError(
                    "ALREADY_EXISTS", f"Revision named '{revision}' with different configuration already exists."
                )
            service.latest_created_revision = service.latest_ready_revision = f"{service.name}/revisions/{revision}"
            revisions.append(revision)
        if not service.traffic:
            service.traffic.add(type_=_LATEST, percent=100)
        service.uri = f"https://{service_id}-{PROJECT_NUMBER}.{REGION}.run.app"
        _point(service, revisions)
        service.etag = f'"{self._state.new_id()}"'
        service.observed_generation = service.generation
        service.terminal_condition.type_ = "Ready"
        service.terminal_condition.state = run_v2.Condition.State.CONDITION_SUCCEEDED
        return revisions


def _point(service: Any, revisions: list[str]) -> None:
    """Say where traffic goes. A target may have no share and be reached by its tag alone."""
    if sum(target.percent for target in service.traffic) != 100:
        raise invalid("traffic: the percentages must add up to 100.")
    del service.traffic_statuses[:]
    for target in service.traffic:
        if target.type_ == _BY_REVISION and target.revision not in revisions:
            raise invalid(f"traffic: no revision {target.revision}.")
        status = service.traffic_statuses.add(
            type_=target.type_, percent=target.percent, tag=target.tag, revision=target.revision
        )
        if target.type_ == _LATEST:
            status.revision = service.latest_ready_revision.rsplit("/", 1)[1]
        if target.tag:
            status.uri = service.uri.replace("https://", f"https://{target.tag}---")
