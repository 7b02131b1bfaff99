"""A fake of Kubeflow Pipelines' REST API v2beta1 on loopback.

Methods, paths, fields and types are those of kfp-server-api (`kubeflow_contract`). The rules beside them were read in
the back end; the files that they name lie below https://github.com/kubeflow/pipelines/blob/master/backend/src/. Nothing
here was proven on an installation.
"""
# ruff: noqa: ARG002 - every operation is called with the query and the body

import base64
import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import TracebackType
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from cronsim import CronSim, CronSimError

from tests.cloud.bench.clock import FakeClock
from tests.cloud.kubeflow_contract import Wrong, check, check_pipeline, operations

Fault = Literal["429", "500", "503", "slow", "dropped", "reply-lost", "conflict", "denied"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
TRANSIENT = ("429", "500", "503", "slow", "dropped", "reply-lost")

_OPERATIONS = tuple(operations())
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_NEVER = "1970-01-01T00:00:00Z"
_DEFAULT_PAGE, _MAX_PAGE = 20, 200

# apiserver/model/{run,experiment,job}.go: what filters and orders may name, and the field behind it.
_COMMON = {
    "name": "display_name",
    "display_name": "display_name",
    "created_at": "created_at",
    "description": "description",
}
_KEYS = {
    "runs": {
        **_COMMON,
        **{name: name for name in ("run_id", "experiment_id", "state", "storage_state", "finished_at", "scheduled_at")},
        **{name: name for name in ("namespace", "recurring_run_id")},
        "id": "run_id",
        "status": "state",
    },
    "experiments": {
        **_COMMON,
        **{name: name for name in ("experiment_id", "namespace", "storage_state", "last_run_created_at")},
        "id": "experiment_id",
    },
    "recurringRuns": {
        **_COMMON,
        "recurring_run_id": "recurring_run_id",
        "id": "recurring_run_id",
        "updated_at": "updated_at",
    },
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "EQUALS": lambda have, want: have == want,
    "NOT_EQUALS": lambda have, want: have != want,
    "GREATER_THAN": lambda have, want: have > want,
    "GREATER_THAN_EQUALS": lambda have, want: have >= want,
    "LESS_THAN": lambda have, want: have < want,
    "LESS_THAN_EQUALS": lambda have, want: have <= want,
    "IS_SUBSTRING": lambda have, want: want in have,
}
_BY_NUMBER = {
    1: "EQUALS",
    2: "NOT_EQUALS",
    3: "GREATER_THAN",
    5: "GREATER_THAN_EQUALS",
    6: "LESS_THAN",
    7: "LESS_THAN_EQUALS",
}

# https://github.com/grpc-ecosystem/grpc-gateway/blob/main/runtime/errors.go
_STATUS_BY_CODE = {3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 12: 501, 13: 500, 14: 503, 16: 401}


@dataclass
class Call:
    """A call as it arrived, and what was answered; 0 where nothing was."""

    operation: str
    query: dict[str, str]
    body: Any
    status: int = 0


class ApiError(Exception):
    """An answer that says no, by its gRPC code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class FakeKubeflow:
    """The server and what it keeps. Used as a context manager.

    Args:
        namespaces: those of an installation with users that the caller may use; none: an installation without users.
        token: what a caller must bear; empty: nothing.
        tls: how to encrypt; None: not at all.
    """

    def __init__(self, *, namespaces: tuple[str, ...] = (), token: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.namespaces, self.token = namespaces, token
        self.clock = FakeClock()
        self.clock.next_due, self.clock.fire = self._next_due, lambda _: self._fire()
        self.calls: list[Call] = []
        self.faults: dict[int, Fault] = {}
        """By the number of the call since `calls` was last emptied, from 0."""
        self.slow_s = 0.5
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring_runs: dict[str, dict[str, Any]] = {}
        self._last_fired: dict[str, datetime] = {}
        self._ids = count(1)
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.host = f"{scheme}://127.0.0.1:{self._server.server_port}/pipeline"

    def __enter__(self) -> "FakeKubeflow":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def named(self, operation: str) -> list[Call]:
        """Give the calls of one operation."""
        return [call for call in self.calls if call.operation == operation]

    # What a test has the cluster do.

    def start(self, run_id: str) -> None:
        """Have a run begin."""
        with self._lock:
            self._to(self.runs[run_id], "RUNNING")
            self.node(run_id, "root-driver", "SUCCEEDED")
            self.node(run_id, "root", "RUNNING")

    def task(self, run_id: str, name: str, state: str, error: str = "") -> None:
        """Have a task come to a state: its driver, itself, and the container inside, which has the error."""
        with self._lock:
            self.node(run_id, f"{name}-driver", "SUCCEEDED")
            parent = self.node(run_id, name, state)
            if state != "SKIPPED":
                self.node(run_id, "executor", state, error, parent["task_id"])

    def node(self, run_id: str, name: str, state: str, error: str = "", parent: str = "") -> dict[str, Any]:
        """Have a node of the workflow come to a state."""
        nodes = self.runs[run_id]["run_details"]["task_details"]
        found = next((node for node in nodes if (node["display_name"], node["parent_task_id"]) == (name, parent)), None)
        if found is None:
            found = {
                "run_id": run_id, "task_id": self._id(), "display_name": name, "create_time": self._now(),
                "start_time": self._now(), "end_time": _NEVER, "parent_task_id": parent, "state_history": [],
            }  # fmt: skip
            nodes.append(found)
        self._to(found, state)
        if error:
            found["error"] = {"code": 2, "message": error, "details": []}
        if state in _ENDED:
            found["end_time"] = self._now()
        return found

    def end(self, run_id: str, state: str, error: str = "") -> None:
        """Have a run end, and schedules that waited for it go on."""
        with self._lock:
            run = self.runs[run_id]
            self._to(run, state)
            run["finished_at"] = self._now()
            if error:
                run["error"] = {"code": 2, "message": error, "details": []}
            self._fire()

    # Experiments.

    def create_experiment(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        """apiserver/server/experiment_server.go, and names that are unique in a namespace."""
        namespace = body.get("namespace", "")
        self._may_use(namespace)
        if not body.get("display_name"):
            raise ApiError(3, "Experiment name is empty. Please specify a valid experiment name")
        for other in self.experiments.values():
            if (other["display_name"], other["namespace"]) == (body["display_name"], namespace):
                raise ApiError(6, f"Failed to create a new experiment. The name {body['display_name']} already exists")
        made = {
            **body, "experiment_id": self._id(), "namespace": namespace, "created_at": self._now(),
            "storage_state": "AVAILABLE", "last_run_created_at": _NEVER,
        }  # fmt: skip
        self.experiments[made["experiment_id"]] = made
        return made

    def get_experiment(self, query: dict[str, str], body: None, experiment_id: str) -> Any:
        return _one(self.experiments, experiment_id, "Experiment")

    def list_experiments(self, query: dict[str, str], body: None) -> Any:
        self._may_list(query)
        return self._page("experiments", self.experiments, query)

    # Runs.

    def create_run(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        """apiserver/server/run_server.go: names need not be unique."""
        if not body.get("display_name"):
            raise ApiError(3, "The run name is empty. Please specify a valid name")
        return self._new_run(body)

    def get_run(self, query: dict[str, str], body: None, run_id: str) -> Any:
        return _one(self.runs, run_id, "Run")

    def list_runs(self, query: dict[str, str], body: None) -> Any:
        self._may_list(query)
        return self._page("runs", self.runs, query)

    def terminate_run(self, query: dict[str, str], body: None, run_id: str) -> Any:
        """apiserver/storage/run_store.go: only what has not ended, and is not being cancelled."""
        run = _one(self.runs, run_id, "Run")
        if run["state"] not in ("PAUSED", "PENDING", "RUNNING"):
            raise ApiError(3, f"Failed to terminate a run {run_id}. Row not found")
        self._to(run, "CANCELING")
        return {}

    # Recurring runs.

    def create_recurring_run(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        """apiserver/server/api_converter.go (toModelJob): names need not be unique either."""
        if not body.get("display_name"):
            raise ApiError(3, "Recurring run's name cannot be empty")
        most = int(body.get("max_concurrency", 0))
        if not 1 <= most <= 10:
            raise ApiError(3, f"Max concurrency of a recurring run must be at least 1 and at most 10. Received {most}")
        _next_time(body.get("trigger", {}).get("cron_schedule", {}).get("cron", ""), self.clock.now())
        _check_what_runs(body)
        made = {
            **body, "recurring_run_id": self._id(), "created_at": self._now(), "updated_at": self._now(),
            "status": "ENABLED" if body.get("mode") == "ENABLE" else "DISABLED", "max_concurrency": str(most),
            "experiment_id": self._experiment_of(body), "no_catchup": body.get("no_catchup", False),
        }  # fmt: skip
        made["namespace"] = self.experiments[made["experiment_id"]]["namespace"]
        self.recurring_runs[made["recurring_run_id"]] = made
        return made

    def get_recurring_run(self, query: dict[str, str], body: None, recurring_run_id: str) -> Any:
        return _one(self.recurring_runs, recurring_run_id, "Recurring run")

    def list_recurring_runs(self, query: dict[str, str], body: None) -> Any:
        self._may_list(query)
        return self._page("recurringRuns", self.recurring_runs, query)

    def enable_recurring_run(self, query: dict[str, str], body: None, recurring_run_id: str) -> Any:
        _one(self.recurring_runs, recurring_run_id, "Recurring run").update(status="ENABLED", mode="ENABLE")
        self._fire()
        return {}

    def disable_recurring_run(self, query: dict[str, str], body: None, recurring_run_id: str) -> Any:
        _one(self.recurring_runs, recurring_run_id, "Recurring run").update(status="DISABLED", mode="DISABLE")
        return {}

    def delete_recurring_run(self, query: dict[str, str], body: None, recurring_run_id: str) -> Any:
        """What it started and has not ended goes, too, unless that is orphaned.

        https://github.com/kubeflow/pipelines/issues/12573 and https://github.com/kubeflow/pipelines/pull/12574
        """
        _one(self.recurring_runs, recurring_run_id, "Recurring run")
        del self.recurring_runs[recurring_run_id]
        for run in self._going_on(recurring_run_id):
            if query.get("propagation_policy") != "ORPHAN":
                self._to(run, "FAILED")
        return {}

    # The rest.

    def get_healthz(self, query: dict[str, str], body: None) -> Any:
        return {"multi_user": bool(self.namespaces)}

    def _new_run(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_what_runs(body)
        made = {
            **body, "run_id": self._id(), "storage_state": "AVAILABLE", "created_at": self._now(),
            "scheduled_at": body.get("scheduled_at", self._now()), "finished_at": _NEVER, "state_history": [],
            "experiment_id": self._experiment_of(body), "run_details": {"task_details": []},
        }  # fmt: skip
        self._to(made, "PENDING")
        self.runs[made["run_id"]] = made
        return made

    def _experiment_of(self, body: dict[str, Any]) -> str:
        """The experiment that is named, or the default one of an installation without users."""
        if body.get("experiment_id"):
            found = _one(self.experiments, body["experiment_id"], "Experiment")
            self._may_use(found["namespace"])
            return str(found["experiment_id"])
        if self.namespaces:
            raise ApiError(3, "In multi-user mode, experiment id is required")
        default = next((one for one in self.experiments.values() if one["display_name"] == "Default"), None)
        return str((default or self.create_experiment({}, {"display_name": "Default"}))["experiment_id"])

    def _fire(self) -> None:
        """Start what is due: crd/controller/scheduledworkflow/controller.go and util/scheduled_workflow.go."""
        for resource, recurring in self.recurring_runs.items():
            for number in count(1):
                due = self._due(resource, recurring)
                if due is None or due > self.clock.now():
                    break
                self._last_fired[resource] = due
                name = f"{re.sub('[^a-z0-9]+', '-', recurring['display_name'].lower())}-{number}-{due:%Y%m%d%H%M%S}"
                fields = ("pipeline_spec", "runtime_config", "experiment_id")
                body = {field: recurring[field] for field in fields if field in recurring}
                scheduled = {"recurring_run_id": resource, "scheduled_at": _written(due)}
                self._new_run({**body, **scheduled, "display_name": name})

    def _due(self, resource: str, recurring: dict[str, Any]) -> datetime | None:
        """The next time to start a run; None where it is disabled, has ended, or enough runs go on."""
        if recurring["status"] != "ENABLED" or len(self._going_on(resource)) >= int(recurring["max_concurrency"]):
            return None
        schedule = recurring["trigger"]["cron_schedule"]
        start, end = (_read(schedule[name]) if schedule.get(name) else None for name in ("start_time", "end_time"))
        last = self._last_fired.get(resource) or start or _read(recurring["created_at"])
        due = _next_time(schedule["cron"], max(last, start or last))
        # Without catching up, the last of those that were missed: util/cron_schedule.go.
        while recurring["no_catchup"] and (later := _next_time(schedule["cron"], due)) <= self.clock.now():
            if end is not None and later > end:
                break
            due = later
        return due if end is None or due <= end else None

    def _going_on(self, resource: str) -> list[dict[str, Any]]:
        of_it = (run for run in self.runs.values() if run.get("recurring_run_id") == resource)
        return [run for run in of_it if run["state"] not in _ENDED]

    def _next_due(self) -> datetime | None:
        with self._lock:
            found = [due for one in self.recurring_runs.items() if (due := self._due(*one)) is not None]
        return min(found, default=None)

    def _page(self, kind: str, kept: dict[str, dict[str, Any]], query: dict[str, str]) -> Any:
        """apiserver/list/list.go and filter/filter.go."""
        found = list(kept.values())
        for name in ("namespace", "experiment_id"):
            if query.get(name):
                found = [one for one in found if self._field(one, name) == query[name]]
        tests = list(_tests(query.get("filter", ""), _KEYS[kind]))
        found = [one for one in found if all(test(one) for test in tests)]
        order = re.fullmatch(r"(\w+)( asc| desc)?", query.get("sort_by") or "created_at")
        if order is None or order[1] not in _KEYS[kind]:
            raise ApiError(3, f"Invalid sorting field: {query['sort_by']!r}")
        found.sort(key=lambda one: one[_KEYS[kind][order[1]]], reverse=order[2] == " desc")
        size = min(int(query.get("page_size") or _DEFAULT_PAGE), _MAX_PAGE)
        asked = [query.get("filter", ""), query.get("sort_by", "")]
        start = 0
        if query.get("page_token"):
            start, *asked_before = json.loads(base64.b64decode(query["page_token"]))
            if asked_before != asked:
                raise ApiError(3, "The page token does not belong to this filter and order")
        answer = {kind: found[start : start + size], "total_size": len(found)}
        if start + size < len(found):
            answer["next_page_token"] = base64.b64encode(json.dumps([start + size, *asked]).encode()).decode()
        return answer

    def _field(self, one: dict[str, Any], name: str) -> Any:
        if name == "namespace" and "namespace" not in one:
            return self.experiments[one["experiment_id"]]["namespace"]
        return one.get(name)

    def _may_list(self, query: dict[str, str]) -> None:
        if not self.namespaces and query.get("namespace"):
            raise ApiError(3, "In single-user mode, lists cannot filter by namespace")
        if self.namespaces and not query.get("experiment_id"):
            self._may_use(query.get("namespace", ""))

    def _may_use(self, namespace: str) -> None:
        if not self.namespaces and namespace:
            raise ApiError(3, "In single-user mode, the namespace must be empty")
        if self.namespaces and not namespace:
            raise ApiError(3, "Invalid input error: Namespace is empty")
        if self.namespaces and namespace not in self.namespaces:
            raise ApiError(7, f"User 'ann@example.org' is not authorized with reason: no access to {namespace}")

    def _to(self, one: dict[str, Any], state: str) -> None:
        if one.get("state") != state:
            one["state"] = state
            one["state_history"].append({"update_time": self._now(), "state": state})

    def _id(self) -> str:
        return str(uuid.UUID(int=next(self._ids)))

    def _now(self) -> str:
        return _written(self.clock.now())

    # The connection.

    def answer(self, method: str, target: str, headers: Any, content: bytes) -> tuple[int, Any] | None:
        """Answer a request; None: the connection breaks."""
        parts = urlsplit(target)
        path = "/apis" + parts.path.partition("/apis")[2]
        found = [(one, match) for one in _OPERATIONS if one.method == method and (match := one.path.fullmatch(path))]
        # A name may stand where another path has a fixed word.
        operation, match = min(found, key=lambda pair: len(pair[1].groups()), default=(None, None))
        if operation is None or match is None:
            return 404, {"error": "Not Found", "code": 5, "message": "Not Found", "details": []}
        with self._lock:
            body = json.loads(content) if content else None
            call = Call(operation.name, dict(parse_qsl(parts.query)), body)
            fault = self.faults.get(len(self.calls))
            self.calls.append(call)
        if fault == "dropped":
            return None
        with self._lock:
            status, answer = self._status_and_answer(operation, call, headers, match, fault)
        if fault == "slow":
            self._closing.wait(self.slow_s)
        if fault == "reply-lost":
            return None
        call.status = status
        return status, answer

    def _status_and_answer(
        self, operation: Any, call: Call, headers: Any, match: re.Match[str], fault: Fault | None
    ) -> tuple[int, Any]:
        try:
            if self.token and headers.get("Authorization") != f"Bearer {self.token}":
                raise ApiError(16, "Request header error: there is no user identity header")
            _raise_fault(fault, operation.name)
            if unknown := set(call.query) - operation.query:
                raise ApiError(3, f"field not found: {unknown}")
            if operation.body:
                check(call.body or {}, operation.body, operation.body)
            serve = getattr(self, operation.name, None)
            if serve is None:
                raise ApiError(12, f"The fake does not know {operation.name}")
            answer = serve(call.query, call.body, *(unquote(part) for part in match.groups()))
        except (Wrong, ApiError) as error:
            code = error.code if isinstance(error, ApiError) else 3
            words = {"error": str(error), "code": code, "message": str(error), "details": []}
            return _STATUS_BY_CODE[code], words
        check(answer, operation.answer, operation.answer)
        return 200, json.loads(json.dumps(answer))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: else each answer waits 40 ms for the caller's system

            def _serve(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answered = fake.answer(self.command, self.path, self.headers, content)
                if answered is None:
                    self.close_connection = True
                    return
                status, answer = answered
                payload = json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(payload)))
                    if status == 429:
                        self.send_header("Retry-After", "7")
                    self.end_headers()
                    self.wfile.write(payload)
                    self.wfile.flush()
                except OSError:
                    self.close_connection = True  # the caller waited no longer

            do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                pass

        return Handler


def _raise_fault(fault: Fault | None, operation: str) -> None:
    errors = {
        "429": ApiError(8, "Too many requests"),
        "500": ApiError(13, "Internal Server Error: the database went away"),
        "503": ApiError(14, "The service is unavailable"),
        "conflict": ApiError(6, f"{operation}: the resource already exists"),
        "denied": ApiError(7, f"User 'ann@example.org' is not authorized to {operation}"),
    }
    if fault in errors:
        raise errors[fault]


def _check_what_runs(body: dict[str, Any]) -> None:
    if not body.get("pipeline_spec"):
        raise ApiError(3, "Either pipeline_spec or pipeline_version_reference is required")
    check_pipeline(body["pipeline_spec"], body.get("runtime_config", {}).get("parameters", {}))


def _next_time(cron: str, after: datetime) -> datetime:
    """When an expression is next due, in UTC.

    As github.com/robfig/cron reads it: second, minute, hour, day, month, and a day of the week (0 to 6) that may be
    left out; of five fields, too, the first is the second. Here the second is a number.
    """
    fields = cron.split()
    if len(fields) == 5:
        fields.append("*")
    if len(fields) != 6 or not fields[0].isdecimal() or "7" in fields[5]:
        raise ApiError(
            3, f"Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron): {cron!r}"
        )
    second = timedelta(seconds=int(fields[0]))
    try:
        return next(CronSim(" ".join(fields[1:]), after - second)) + second
    except (CronSimError, StopIteration) as error:
        raise ApiError(3, f"Schedule cron is not a supported format: {cron!r}") from error


def _tests(given: str, keys: dict[str, str]) -> Iterator[Callable[[dict[str, Any]], bool]]:
    """The predicates of a filter, in the names of the fields or in the camel case and numbers that kfp.Client sends."""
    if not given:
        return
    content = json.loads(given)
    predicates = [
        {re.sub("([A-Z])", lambda found: f"_{found[0].lower()}", name): value for name, value in one.items()}
        for one in content.pop("predicates", [])
    ]
    for predicate in predicates:
        predicate["operation"] = _BY_NUMBER.get(predicate["operation"], predicate["operation"])
    check({**content, "predicates": predicates}, "V2beta1Filter", "filter")
    for predicate in predicates:
        if predicate["key"] not in keys or predicate["operation"] not in _COMPARE:
            raise ApiError(3, f"Invalid input error: no filter by {predicate['key']} {predicate['operation']}")
        yield _test(keys[predicate["key"]], _COMPARE[predicate["operation"]], predicate)


def _test(
    field: str, compare: Callable[[Any, Any], bool], predicate: dict[str, Any]
) -> Callable[[dict[str, Any]], bool]:
    if "timestamp_value" in predicate:
        want = _read(predicate["timestamp_value"])
        return lambda one: compare(_read(one[field]), want)
    return lambda one: compare(one.get(field, ""), predicate["string_value"])


def _one(kept: dict[str, dict[str, Any]], resource: str, kind: str) -> dict[str, Any]:
    if resource not in kept:
        raise ApiError(5, f"{kind} {resource} not found")
    return kept[resource]


def _read(given: str) -> datetime:
    return datetime.fromisoformat(given)


def _written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
