"""The load generator: HTTP/1.1 over kept connections, raw epoll, requests encoded beforehand.

python -m benchmarks.serving.load < PLAN.json

It runs in a process of its own and costs little, since it shares the cores with the server that it measures. In a
closed loop every client sends its next request when it has its answer. In an open loop requests come when they come
(Poisson); a latency runs from the scheduled arrival, so that waiting for a free connection and for the generator itself
count.
"""

import gc
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from .arrivals import poisson
from .processes import busy_s, cpu_s

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_READ_BYTES = 1 << 13
# Opened before the first arrival of an open loop; more are opened when they are needed.
_FIRST_CONNECTIONS = 8


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """What to send. `clients` makes a closed loop, `rate_per_s` an open one; only one is set.

    `session` is the server's process session, whose processor time is read at both ends of the measurement.
    """

    port: int
    path: str
    bodies: list[str]
    seconds: float
    session: int
    clients: int = 0
    rate_per_s: float = 0.0
    warm_up_s: float = 0.5
    seed: int = 0
    max_connections: int = 256
    drain_s: float = 10.0


class Measured(msgspec.Struct):
    """What came back within the measured time (closed loop), or of the requests that arrived in it (open loop).

    `statuses` counts answers by HTTP status, "closed" for connections that broke, "unanswered" for those that never
    came. `busy_s` is the processor time of all that ran on the machine.
    """

    wall_s: float
    statuses: dict[str, int]
    latencies_ms: list[float]
    server_cpu_s: float
    generator_cpu_s: float
    busy_s: float
    connections: int

    @property
    def answered(self) -> int:
        """How many were answered as they should."""
        return self.statuses.get("200", 0)

    @property
    def failed(self) -> int:
        """How many were not."""
        return sum(self.statuses.values()) - self.answered


def run(plan: Plan) -> Measured:
    """Send what is planned; returns when the last answer is there."""
    requests = [encode(plan.path, body) for body in plan.bodies]
    # Nothing here makes cycles worth a collection in the middle of a measurement.
    gc.disable()
    if bool(plan.clients) == bool(plan.rate_per_s):
        raise ValueError("a plan has either clients or a rate")
    return _Closed(plan, requests).run() if plan.clients else _Open(plan, requests).run()


def encode(path: str, body: str) -> bytes:
    """Give the bytes of one request."""
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    return head.encode() + _END_OF_HEAD + content


def response_end(data: bytes) -> int:
    """Give where the first response in `data` ends; 0 while it is not whole."""
    head = data.find(_END_OF_HEAD)
    if head < 0:
        return 0
    place = data.find(_LENGTH, 0, head)
    if place < 0 and (lower := data[:head].lower()) != data[:head]:
        return response_end(lower + data[head:])
    if place >= 0:
        end = head + 4 + int(data[place + len(_LENGTH) : data.find(b"\r\n", place)])
        return end if len(data) >= end else 0
    if b"transfer-encoding: chunked" in data[:head]:
        end = data.find(b"\r\n0\r\n\r\n", head)
        return end + 7 if end >= 0 else 0
    return head + 4


class _Connection:
    __slots__ = ("buffer", "close", "descriptor", "receive", "send", "sent_s")

    def __init__(self, port: int) -> None:
        opened = socket.create_connection(("127.0.0.1", port), timeout=10)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)
        self.descriptor = opened.fileno()
        self.send, self.receive, self.close = opened.send, opened.recv, opened.close
        self.buffer = b""
        self.sent_s = 0.0


class _Loop:
    """What both loops share: connections, sending, and reading answers."""

    def __init__(self, plan: Plan, requests: Sequence[bytes]) -> None:
        self.plan, self.requests = plan, requests
        self.epoll = select.epoll()
        self.by_descriptor: dict[int, _Connection] = {}
        self.statuses: dict[str, int] = {}
        self.latencies_ms: list[float] = []
        self.next_request = 0
        self.opened = 0
        # What an answer or a break does next: the connection, the status, and when it came.
        self.on_answer: Callable[[_Connection, str, float], None]

    def connect(self) -> _Connection:
        connection = _Connection(self.plan.port)
        self.by_descriptor[connection.descriptor] = connection
        self.epoll.register(connection.descriptor, select.EPOLLIN)
        self.opened += 1
        return connection

    def drop(self, connection: _Connection) -> None:
        self.epoll.unregister(connection.descriptor)
        del self.by_descriptor[connection.descriptor]
        connection.close()

    def send(self, connection: _Connection, since_s: float) -> None:
        """Send the next request; its latency counts from `since_s`. A request fits the socket's buffer."""
        request = self.requests[self.next_request]
        self.next_request = (self.next_request + 1) % len(self.requests)
        connection.sent_s = since_s
        try:
            connection.send(request)
        except OSError:  # seen again when it is read
            return

    def read(self, descriptor: int) -> None:
        connection = self.by_descriptor[descriptor]
        try:
            data = connection.receive(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.on_answer(connection, "closed", time.perf_counter())
            return
        data = connection.buffer + data if connection.buffer else data
        end = response_end(data)
        if not end:
            connection.buffer = data
            return
        connection.buffer = b""
        self.on_answer(connection, data[9:12].decode("latin-1"), time.perf_counter())

    def count(self, status: str, latency_s: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == "200":
            self.latencies_ms.append(latency_s * 1000)

    def begin(self) -> None:
        """Read the clocks at the start of what is measured."""
        self._busy_s, self._server_s = busy_s(), cpu_s(self.plan.session)
        self._own_s, self._started_s = time.process_time(), time.perf_counter()

    def end(self) -> Measured:
        """Read the clocks again, close all connections, and give what was measured."""
        wall_s, own_s = time.perf_counter() - self._started_s, time.process_time() - self._own_s
        server_s, all_s = cpu_s(self.plan.session) - self._server_s, busy_s() - self._busy_s
        for connection in list(self.by_descriptor.values()):
            self.drop(connection)
        return Measured(wall_s, self.statuses, self.latencies_ms, server_s, own_s, all_s, self.opened)


class _Closed(_Loop):
    """So many clients, each with one request under way at any time."""

    def run(self) -> Measured:
        self.on_answer, self.is_counting = self._answered, False
        now_s = time.perf_counter()
        for _ in range(self.plan.clients):
            self.send(self.connect(), now_s)
        self._until(now_s + self.plan.warm_up_s)
        self.is_counting = True
        self.begin()
        self._until(time.perf_counter() + self.plan.seconds)
        return self.end()

    def _until(self, end_s: float) -> None:
        while (left_s := end_s - time.perf_counter()) > 0:
            for descriptor, _ in self.epoll.poll(left_s):
                self.read(descriptor)

    def _answered(self, connection: _Connection, status: str, now_s: float) -> None:
        if self.is_counting:
            self.count(status, now_s - connection.sent_s)
        if status == "closed":
            self.drop(connection)
            connection = self.connect()
        self.send(connection, now_s)


class _Open(_Loop):
    """Requests at their own times, on as many connections as that takes, up to a bound."""

    def run(self) -> Measured:
        plan = self.plan
        self.on_answer = self._answered
        self.idle = [self.connect() for _ in range(min(_FIRST_CONNECTIONS, plan.max_connections))]
        self.waiting: deque[float] = deque()
        self.under_way = 0
        start_s = time.perf_counter()
        self.counted_from_s = start_s + plan.warm_up_s
        arrivals = [start_s + time_s for time_s in poisson(plan.rate_per_s, plan.warm_up_s + plan.seconds, plan.seed)]
        warm_up = [time_s for time_s in arrivals if time_s < self.counted_from_s]
        self._send_all(warm_up, self.counted_from_s)
        self.begin()
        self._send_all(arrivals[len(warm_up) :], self.counted_from_s + plan.seconds)
        deadline_s = time.perf_counter() + plan.drain_s
        while self.under_way and time.perf_counter() < deadline_s:
            self._wait(deadline_s)
        lost = len(arrivals) - len(warm_up) - sum(self.statuses.values())
        if lost > 0:
            self.statuses["unanswered"] = lost
        return self.end()

    def _send_all(self, arrivals: Sequence[float], end_s: float) -> None:
        """Send each at its time, and read what comes meanwhile until `end_s`."""
        for arrival_s in arrivals:
            while time.perf_counter() < arrival_s:
                self._wait(arrival_s)
            self.under_way += 1
            if self.idle:
                self.send(self.idle.pop(), arrival_s)
            elif len(self.by_descriptor) < self.plan.max_connections:
                self.send(self.connect(), arrival_s)
            else:
                self.waiting.append(arrival_s)
        while time.perf_counter() < end_s:
            self._wait(end_s)

    def _wait(self, end_s: float) -> None:
        """Read what is there until `end_s` at most. `epoll.poll` alone would round the time up to a millisecond."""
        left_s = end_s - time.perf_counter()
        if left_s > 0 and select.select([self.epoll], (), (), left_s)[0]:
            for descriptor, _ in self.epoll.poll(0):
                self.read(descriptor)

    def _answered(self, connection: _Connection, status: str, now_s: float) -> None:
        is_idle_break = status == "closed" and connection in self.idle
        if not is_idle_break:
            self.under_way -= 1
            if connection.sent_s >= self.counted_from_s:
                self.count(status, now_s - connection.sent_s)
        if status == "closed":
            if is_idle_break:
                self.idle.remove(connection)
            self.drop(connection)
            if not self.waiting:
                return
            connection = self.connect()
        if self.waiting:
            self.send(connection, self.waiting.popleft())
        else:
            self.idle.append(connection)


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(run(plan)))


if __name__ == "__main__":
    main()
