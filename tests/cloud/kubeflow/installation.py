"""A fake of Kubeflow Pipelines' REST API v2beta1 on loopback.

Methods, paths, fields and types are those of kfp-server-api (`contract`). The rules beside them were read in the back
end; the files that they name lie below https://github.com/kubeflow/pipelines/blob/master/backend/src/. Nothing here was
proven on an installation.
"""

import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.cloud.bench.clock import FakeClock
from tests.cloud.kubeflow.contract import Wrong, check, operations
from tests.cloud.kubeflow.door import Answer, Door
from tests.cloud.kubeflow.errors import STATUS_BY_CODE, ApiError
from tests.cloud.kubeflow.experiments import Experiments
from tests.cloud.kubeflow.faults import BROKEN, CREATES, Call, Fault, raise_fault
from tests.cloud.kubeflow.recurring_runs import RecurringRuns
from tests.cloud.kubeflow.runs import Runs
from tests.cloud.kubeflow.times import written

_OPERATIONS = tuple(operations())
# apiserver/main.go: beside the services, in later releases under v2beta1.
_LOG = r"/apis/{version}/runs/([^/]+)/nodes/([^/]+)/log"
_LATE_TIME = timedelta(minutes=1)


@dataclass
class _Late:
    """A call that is still under way when its caller has given up."""

    carry_out: Callable[[], object]
    due_at: datetime
    calls_to_wait: int


class FakeKubeflow:
    """The server and what it keeps. Used as a context manager.

    Args:
        namespaces: those of an installation with users that the caller may use; none: an installation without users.
        token: what a caller must bear; empty: nothing.
        tls: how to encrypt; None: not at all.
        log_version: where the route for logs is: v1alpha1 or v2beta1; empty: a proxy lets nobody through.
    """

    def __init__(
        self,
        *,
        namespaces: tuple[str, ...] = (),
        token: str = "",
        tls: ssl.SSLContext | None = None,
        log_version: str = "v1alpha1",
    ) -> None:
        self.namespaces, self.token, self.log_version = namespaces, token, log_version
        self.clock = FakeClock()
        self.clock.next_due, self.clock.fire = self._next_due, self._fire
        self.calls: list[Call] = []
        self.faults: dict[int, Fault] = {}
        """By the number of the call since `calls` was last emptied, from 0."""
        self.slow_s = 60.0
        """Longer than anybody waits for it; `HurriedApi` does so for hardly any time."""
        self.slow_call_done = threading.Event()
        """Set when a slow call has been carried out, long before it is answered."""
        self.late_calls = 2
        """A late call is carried out when so many others have been answered, or a minute later."""
        self.gone_log_status = 500
        """Earlier releases write the status before they look for the log: 200."""
        self._ids = count(1)
        self._experiments = Experiments(namespaces, self._id, self._now)
        self.workflows = Runs(self._experiments, self._id, self._now)
        self._schedules = RecurringRuns(self._experiments, self.workflows, self._id, self.clock)
        self.experiments, self.runs = self._experiments.kept, self.workflows.kept
        self.recurring_runs = self._schedules.kept
        self._late: list[_Late] = []
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._door = Door(self.answer, tls)
        self.host = f"{self._door.url}/pipeline"

    def __enter__(self) -> "FakeKubeflow":
        self._door.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._door.close()

    @property
    def is_slow_next(self) -> bool:
        """Whether the next call is to be slow."""
        return self.faults.get(len(self.calls)) == "slow"

    def named(self, operation: str) -> list[Call]:
        """Give the calls of one operation."""
        return [call for call in self.calls if call.operation == operation]

    def reset(self) -> None:
        """Forget everything but the time."""
        with self._lock:
            for kept in (self.experiments, self.runs, self.recurring_runs, self.faults, self.workflows.logs):
                kept.clear()
            self._late.clear()
            self.calls.clear()

    def arrive(self) -> None:
        """Carry out at once what is still under way."""
        with self._lock:
            self._carry_out_late(is_all=True)

    # What a test has the cluster do.

    def start(self, run_id: str) -> None:
        """Have a run begin."""
        with self._lock:
            self.workflows.start(run_id)

    def task(self, run_id: str, name: str, state: str, error: str = "") -> None:
        """Have a task come to a state."""
        with self._lock:
            self.workflows.task(run_id, name, state, error)

    def end(self, run_id: str, state: str, error: str = "") -> None:
        """Have a run end, and schedules that waited for it go on."""
        with self._lock:
            self.workflows.end(run_id, state, error)
            self._schedules.fire()

    # Calls.

    def answer(self, method: str, target: str, headers: Any, content: bytes) -> Answer | None:
        """Answer a request; None: the connection breaks."""
        parts = urlsplit(target)
        path = "/apis" + parts.path.partition("/apis")[2]
        if self.log_version and (pod := re.fullmatch(_LOG.format(version=self.log_version), path)):
            return self._answered("read_log", {}, None, lambda _, fault: self._log(headers, pod, fault))
        found = [(one, match) for one in _OPERATIONS if one.method == method and (match := one.path.fullmatch(path))]
        # A name may stand where another path has a fixed word.
        operation, match = min(found, key=lambda pair: len(pair[1].groups()), default=(None, None))
        if operation is None or match is None:
            return 404, {"error": "Not Found", "code": 5, "message": "Not Found", "details": []}
        return self._answered(
            operation.name,
            dict(parse_qsl(parts.query)),
            json.loads(content) if content else None,
            lambda call, fault: self._status_and_answer(operation, call, headers, match, fault),
        )

    def _answered(
        self, name: str, query: dict[str, str], body: Any, carry_out: Callable[[Call, Fault | None], Answer]
    ) -> Answer | None:
        """Answer a call, with its fault, and record it."""
        with self._lock:
            self._carry_out_late()
            call = Call(name, query, body)
            fault = self.faults.get(len(self.calls))
            call.fault = fault or ""
            self.calls.append(call)
            if fault == "late":
                self._late.append(_Late(lambda: carry_out(call, None), self.clock.now() + _LATE_TIME, self.late_calls))
        if fault in ("dropped", "late"):
            return None
        with self._lock:
            status, answer = carry_out(call, fault)
        if fault == "slow":
            self.slow_call_done.set()
            self._closing.wait(self.slow_s)
        if fault in BROKEN:
            return None
        call.status = status
        return status, {} if fault == "nameless" and name in CREATES else answer

    def _status_and_answer(
        self, operation: Any, call: Call, headers: Any, match: re.Match[str], fault: Fault | None
    ) -> Answer:
        try:
            self._check_token(headers)
            raise_fault(fault, operation.name)
            if unknown := set(call.query) - operation.query:
                raise ApiError(3, f"field not found: {unknown}")
            if operation.body:
                check(call.body or {}, operation.body, operation.body)
            places = (self, self._experiments, self.workflows, self._schedules)
            serve = next((found for place in places if (found := getattr(place, operation.name, None))), None)
            if serve is None:
                raise ApiError(12, f"The fake does not know {operation.name}")
            answer = serve(call.query, call.body, *(unquote(part) for part in match.groups()))
        except (Wrong, ApiError) as error:
            code = error.code if isinstance(error, ApiError) else 3
            words = {"error": str(error), "code": code, "message": str(error), "details": []}
            return STATUS_BY_CODE[code], words
        check(answer, operation.answer, operation.answer)
        return 200, json.loads(json.dumps(answer))

    def _log(self, headers: Any, pod: re.Match[str], fault: Fault | None) -> Answer:
        """apiserver/server/run_log_server.go: text, or an error of another form, whose status says little."""
        try:
            self._check_token(headers)
            raise_fault(fault, "read_log")
            return 200, self.workflows.log(*pod.groups())
        except LookupError as error:
            return self.gone_log_status, {"error_message": str(error), "error_details": str(error)}
        except ApiError as error:
            words = f"Failed to authorize the request: {error}"
            if error.code in (7, 16):
                return 403, {"error_message": words, "error_details": words}
            return STATUS_BY_CODE[error.code], {"code": error.code, "message": str(error)}

    def get_healthz(self, query: dict[str, str], body: None) -> Any:  # noqa: ARG002
        return {"multi_user": bool(self.namespaces)}

    def _check_token(self, headers: Any) -> None:
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            raise ApiError(16, "Request header error: there is no user identity header")

    def _carry_out_late(self, *, is_all: bool = False) -> None:
        now = self.clock.now()
        due = [late for late in self._late if is_all or late.calls_to_wait == 0 or late.due_at <= now]
        self._late = [late for late in self._late if late not in due]
        for late in self._late:
            late.calls_to_wait -= 1
        for late in due:
            late.carry_out()

    def _next_due(self) -> datetime | None:
        with self._lock:
            return self._schedules.next_due()

    def _fire(self, _now: datetime) -> None:
        with self._lock:
            self._schedules.fire()

    def _id(self) -> str:
        return str(uuid.UUID(int=next(self._ids)))

    def _now(self) -> str:
        return written(self.clock.now())
