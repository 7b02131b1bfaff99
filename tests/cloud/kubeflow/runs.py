"""Runs, the nodes of their workflows, and what the pods of those wrote."""
# ruff: noqa: ARG002 - every operation is called with the query and the body

from collections.abc import Callable, Mapping
from typing import Any

from tests.cloud.kubeflow.contract import check_pipeline
from tests.cloud.kubeflow.errors import ApiError
from tests.cloud.kubeflow.experiments import Experiments
from tests.cloud.kubeflow.listing import Kept, one_of, page
from tests.cloud.kubeflow.times import NEVER

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


class Runs:
    """apiserver/server/run_server.go.

    Args:
        experiments: which every run belongs to one of.
        new_id: gives an id.
        now: gives the time.
    """

    def __init__(self, experiments: Experiments, new_id: Callable[[], str], now: Callable[[], str]) -> None:
        self.kept: Kept = {}
        self.logs: dict[tuple[str, str], str | None] = {}
        """By run and pod; None: the pod is gone, and nothing was archived."""
        self._experiments, self._new_id, self._now = experiments, new_id, now

    def create_run(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        """Names need not be unique, and no id is taken."""
        if not body.get("display_name"):
            raise ApiError(3, "The run name is empty. Please specify a valid name")
        return self.add(body)

    def get_run(self, query: dict[str, str], body: None, run_id: str) -> Any:
        return one_of(self.kept, run_id, "Run")

    def list_runs(self, query: dict[str, str], body: None) -> Any:
        return page("runs", self._experiments.listed(self.kept, query), query)

    def terminate_run(self, query: dict[str, str], body: None, run_id: str) -> Any:
        """apiserver/storage/run_store.go: only what has not ended, and is not being cancelled."""
        run = one_of(self.kept, run_id, "Run")
        if run["state"] not in ("PAUSED", "PENDING", "RUNNING"):
            raise ApiError(3, f"Failed to terminate a run {run_id}. Row not found")
        self._to(run, "CANCELING")
        return {}

    def add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Have a run, of a call or of a schedule."""
        check_what_runs(body)
        made = {
            **body, "run_id": self._new_id(), "storage_state": "AVAILABLE", "created_at": self._now(),
            "scheduled_at": body.get("scheduled_at", self._now()), "finished_at": NEVER, "state_history": [],
            "experiment_id": self._experiments.of(dict(body)), "run_details": {"task_details": []},
        }  # fmt: skip
        self._to(made, "PENDING")
        self.kept[made["run_id"]] = made
        return made

    def log(self, run_id: str, pod: str) -> str:
        """Give what a pod wrote, or raise what its route answers with.

        apiserver/resource/resource_manager.go (`ReadLog`): the pod by its name, then the archive; and one error for
        whatever is wrong, a run that is not there included.
        """
        text = self.logs.get((run_id, pod))
        if text is None:
            raise LookupError(f"Failed to read logs for run {run_id}")
        return text

    # What a test has the cluster do.

    def start(self, run_id: str) -> None:
        """Have a run begin."""
        self._to(self.kept[run_id], "RUNNING")
        self.node(run_id, "root-driver", "SUCCEEDED")
        self.node(run_id, "root", "RUNNING")

    def task(self, run_id: str, name: str, state: str, error: str = "") -> None:
        """Have a task come to a state: its driver, itself, and the container inside, which has the error."""
        self.node(run_id, f"{name}-driver", "SUCCEEDED")
        parent = self.node(run_id, name, state)
        if state != "SKIPPED":
            self.node(run_id, "executor", state, error, parent["task_id"])

    def write(self, run_id: str, path: str, text: str | None, *, tries: int = 1, is_old_name: bool = False) -> None:
        """Have the container of a task write something, in each of its tries; None: it is gone.

        The workflow is called "convert-x7f9k". Of a task that is tried again the container is a node with one more for
        each try below it (kubeflow/pipelines, v2/compiler/argocompiler/container.go).

        Args:
            run_id: of the run.
            path: the task behind the groups that it stands under, as in "condition-1.export-onnx".
            text: what it writes.
            tries: 1: a task without retries.
            is_old_name: the pod is called like its node: Argo's POD_NAMES is v1.
        """
        workflow, name = "convert-x7f9k", path.rpartition(".")[2]
        node = f"{workflow}.root.{path}.executor"
        parent = next(one for one in self._nodes(run_id) if one["display_name"] == name)
        parent["child_tasks"] = [{"pod_name": f"{workflow}-{fnv(node)}"}]
        template, nodes = "system-container-impl", [node]
        if tries > 1:
            template, nodes = "retry-system-container-impl", [f"{node}({number})" for number in range(tries)]
            container = self.node(run_id, "executor", parent["state"], "", parent["task_id"])
            container["child_tasks"] = [{"pod_name": f"{workflow}-{fnv(one)}"} for one in nodes]
        for number, one in enumerate(nodes):
            pod = f"{workflow}-{fnv(one)}" if is_old_name else f"{workflow}-{template}-{fnv(one)}"
            self.logs[run_id, pod] = text if tries == 1 or text is None else f"try {number}\n{text}"

    def node(self, run_id: str, name: str, state: str, error: str = "", parent: str = "") -> dict[str, Any]:
        """Have a node of the workflow come to a state."""
        nodes = self._nodes(run_id)
        found = next((node for node in nodes if (node["display_name"], node["parent_task_id"]) == (name, parent)), None)
        if found is None:
            found = {
                "run_id": run_id, "task_id": self._new_id(), "display_name": name, "create_time": self._now(),
                "start_time": self._now(), "end_time": NEVER, "parent_task_id": parent, "state_history": [],
            }  # fmt: skip
            nodes.append(found)
        self._to(found, state)
        if error:
            found["error"] = {"code": 2, "message": error, "details": []}
        if state in ENDED:
            found["end_time"] = self._now()
        return found

    def end(self, run_id: str, state: str, error: str = "") -> None:
        """Have a run end."""
        run = self.kept[run_id]
        self._to(run, state)
        run["finished_at"] = self._now()
        if error:
            run["error"] = {"code": 2, "message": error, "details": []}

    def of_schedule(self, resource: str) -> list[dict[str, Any]]:
        """Give what a recurring run started and has not ended."""
        of_it = (run for run in self.kept.values() if run.get("recurring_run_id") == resource)
        return [run for run in of_it if run["state"] not in ENDED]

    def fail(self, run: dict[str, Any]) -> None:
        """End a run from outside."""
        self._to(run, "FAILED")

    def _nodes(self, run_id: str) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.kept[run_id]["run_details"]["task_details"]
        return nodes

    def _to(self, one: dict[str, Any], state: str) -> None:
        if one.get("state") != state:
            one["state"] = state
            one["state_history"].append({"update_time": self._now(), "state": state})


def check_what_runs(body: Mapping[str, Any]) -> None:
    """Refuse a pipeline that cannot run."""
    if not body.get("pipeline_spec"):
        raise ApiError(3, "Either pipeline_spec or pipeline_version_reference is required")
    check_pipeline(body["pipeline_spec"], body.get("runtime_config", {}).get("parameters", {}))


def fnv(text: str) -> int:
    """The hash in the ids of a workflow's nodes: Go's hash/fnv New32a, as Argo's `NodeID` has it."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value
