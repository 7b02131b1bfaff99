"""Experiments, and which namespaces the caller may use."""
# ruff: noqa: ARG002 - every operation is called with the query and the body

from collections.abc import Callable
from typing import Any

from tests.cloud.kubeflow.errors import ApiError
from tests.cloud.kubeflow.listing import Kept, one_of, page
from tests.cloud.kubeflow.times import NEVER


class Experiments:
    """apiserver/server/experiment_server.go, and names that are unique in a namespace.

    Args:
        namespaces: those of an installation with users that the caller may use; none: one without users.
        new_id: gives an id.
        now: gives the time.
    """

    def __init__(self, namespaces: tuple[str, ...], new_id: Callable[[], str], now: Callable[[], str]) -> None:
        self.kept: Kept = {}
        self._namespaces, self._new_id, self._now = namespaces, new_id, now

    def create_experiment(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        namespace = body.get("namespace", "")
        self.may_use(namespace)
        if not body.get("display_name"):
            raise ApiError(3, "Experiment name is empty. Please specify a valid experiment name")
        for other in self.kept.values():
            if (other["display_name"], other["namespace"]) == (body["display_name"], namespace):
                raise ApiError(6, f"Failed to create a new experiment. The name {body['display_name']} already exists")
        made = {
            **body, "experiment_id": self._new_id(), "namespace": namespace, "created_at": self._now(),
            "storage_state": "AVAILABLE", "last_run_created_at": NEVER,
        }  # fmt: skip
        self.kept[made["experiment_id"]] = made
        return made

    def get_experiment(self, query: dict[str, str], body: None, experiment_id: str) -> Any:
        return one_of(self.kept, experiment_id, "Experiment")

    def list_experiments(self, query: dict[str, str], body: None) -> Any:
        return page("experiments", self.listed(self.kept, query), query)

    def of(self, body: dict[str, Any]) -> str:
        """Give the experiment that is named, or the default one of an installation without users."""
        if body.get("experiment_id"):
            found = one_of(self.kept, body["experiment_id"], "Experiment")
            self.may_use(found["namespace"])
            return str(found["experiment_id"])
        if self._namespaces:
            raise ApiError(3, "In multi-user mode, experiment id is required")
        default = next((one for one in self.kept.values() if one["display_name"] == "Default"), None)
        return str((default or self.create_experiment({}, {"display_name": "Default"}))["experiment_id"])

    def listed(self, kept: Kept, query: dict[str, str]) -> list[dict[str, Any]]:
        """Give what a list may show of what is kept: of the namespace and the experiment that it names."""
        if not self._namespaces and query.get("namespace"):
            raise ApiError(3, "In single-user mode, lists cannot filter by namespace")
        if self._namespaces and not query.get("experiment_id"):
            self.may_use(query.get("namespace", ""))
        found = list(kept.values())
        if query.get("namespace"):
            found = [one for one in found if self.namespace(one) == query["namespace"]]
        if query.get("experiment_id"):
            found = [one for one in found if one.get("experiment_id") == query["experiment_id"]]
        return found

    def namespace(self, one: dict[str, Any]) -> Any:
        """Give the namespace that something belongs to."""
        return one["namespace"] if "namespace" in one else self.kept[one["experiment_id"]]["namespace"]

    def may_use(self, namespace: str) -> None:
        """Refuse a namespace that is not the caller's."""
        if not self._namespaces and namespace:
            raise ApiError(3, "In single-user mode, the namespace must be empty")
        if self._namespaces and not namespace:
            raise ApiError(3, "Invalid input error: Namespace is empty")
        if self._namespaces and namespace not in self._namespaces:
            raise ApiError(7, f"User 'ann@example.org' is not authorized with reason: no access to {namespace}")
