"""One turn of a server within a round: started, checked, loaded in every way, ended."""

import http.client
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec

from .contestants import HERE, Contestant
from .figures import percentile
from .limit import MODES, SAME_MODE
from .load import Measured, Plan
from .processes import ServerFailed, ServerProcess, free_port, memory_bytes

CLIENTS = (64, 8, 1)
SATURATED = f"{CLIENTS[0]} clients"
HALF_LOAD = "half load"
COMMON_RATE = "common rate"
JUDGED_BESIDE = (SATURATED, HALF_LOAD)
_ROOT = HERE.parents[1]
_START_S = 120.0
_ANSWER_S = 30.0
_POLL_S = 0.002
_CHECKED_TEXTS = 20
# What a server does once, soon after its first answers (opening its database, say), belongs to no measurement.
_SETTLE_S = 3.0
_SETTLE_CLIENTS = 8
# Of the others, a text whose scores are nearly equal may fall to the other side.
_MIN_AGREEMENT = 0.8


@dataclass(frozen=True)
class Beside:
    """What the graph did in process around a load: the mean of just before and just after it.

    A machine that others share is half as fast again from one minute to the next.

    Attributes:
        texts_per_s: with all cores at work, as is cpu_ms.
        cpu_ms: processor time for a text.
        paced_cpu_ms: the same where texts come at the load's rate; NaN for a closed loop.
    """

    texts_per_s: float
    cpu_ms: float
    paced_cpu_ms: float


@dataclass(frozen=True)
class Load:
    """What a server did under one kind of load.

    Attributes:
        name: "64 clients", "half load", ….
        rate_per_s: what an open loop sent; 0 in a closed one.
        rps: good answers a second.
        p50_ms: of the latencies, as are p95_ms and p99_ms.
        cpu_ms: the server's processor time for a good answer.
        generator_cpu_us: the load generator's own for one.
        others_share: of all processors' time, what neither of them used: it should be near 0.
        errors: by HTTP status, "closed" or "unanswered".
        beside: the graph in process around it; None where that was not measured.
    """

    name: str
    rate_per_s: float
    rps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    generator_cpu_us: float
    others_share: float
    requests: int
    errors: dict[str, int]
    beside: Beside | None = None


@dataclass(frozen=True)
class Turn:
    """What a server did in one round: loads by name, and its memory after them."""

    loads: dict[str, Load]
    resident_bytes: int


class Started:
    """A server that answers. Leave it as a context, which ends it."""

    def __init__(self, contestant: Contestant, directory: Path) -> None:
        self.contestant = contestant
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        log = directory / "said.txt"
        command = contestant.command(self.port, directory / "own")
        self.process = ServerProcess(command, log, contestant.environment)

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def ask(self, text: str) -> Any:
        """Give the answer to a text; raises OSError where nobody listens, ServerFailed where it is no good answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)
        try:
            content = self.contestant.encode(text).encode()
            connection.request("POST", self.contestant.path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            body = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if response.status != 200:
            raise ServerFailed(f"{self.contestant.name}: {response.status} {body[:200].decode(errors='replace')}")
        return json.loads(body)

    def wait(self, text: str) -> tuple[Any, float]:
        """Wait for the first answer; gives it and the seconds since the start.

        Raises:
            ServerFailed: it ended, or did not answer in time.
        """
        last = ""
        while (age_s := time.perf_counter() - self.process.started_s) < _START_S:
            if self.process.has_ended():
                raise ServerFailed(f"{self.contestant.name} ended: {self.process.last_words()}")
            try:
                return self.ask(text), time.perf_counter() - self.process.started_s
            except OSError as error:
                last = str(error)
                time.sleep(_POLL_S)
            except ServerFailed as error:  # some answer before they are ready
                last = str(error)
                time.sleep(_POLL_S * 25)
        raise ServerFailed(f"{self.contestant.name} does not answer after {age_s:.0f} s: {last}")

    def check(self, texts: Sequence[str], expected: Sequence[str]) -> None:
        """Raise ServerFailed unless it gives the labels expected."""
        pairs = list(zip(texts, expected, strict=True))[:_CHECKED_TEXTS]
        equal = sum(self.contestant.label(self.ask(text)) == label for text, label in pairs)
        if equal < len(pairs) * (1 if self.contestant.is_same_graph else _MIN_AGREEMENT):
            raise ServerFailed(f"{self.contestant.name}: {equal} of {len(pairs)} labels are the expected ones")

    def load(self, name: str, bodies: list[str], seconds: float, seed: int, **kind: Any) -> Load:
        """Load it from a process of the generator; `kind` is `clients` or `rate_per_s`."""
        plan = Plan(
            port=self.port,
            path=self.contestant.path,
            bodies=bodies,
            seconds=seconds,
            session=self.process.session,
            seed=seed,
            **kind,
        )
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.serving.load"],
            input=msgspec.json.encode(plan),
            capture_output=True,
            cwd=_ROOT,
            check=False,
        )
        if finished.returncode:
            raise ServerFailed(f"{self.contestant.name}: {finished.stderr.decode().strip().rpartition(chr(10))[2]}")
        return summed_up(name, plan.rate_per_s, msgspec.json.decode(finished.stdout, type=Measured))


def summed_up(name: str, rate_per_s: float, measured: Measured) -> Load:
    """Give the figures of one measurement; NaN where nothing was answered."""
    answered, latencies = measured.answered, sorted(measured.latencies_ms)
    each = 1 / answered if answered else math.nan
    return Load(
        name=name,
        rate_per_s=rate_per_s,
        rps=answered / measured.wall_s,
        p50_ms=percentile(latencies, 0.5),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
        cpu_ms=measured.server_cpu_s * each * 1e3,
        generator_cpu_us=measured.generator_cpu_s * each * 1e6,
        others_share=max(measured.busy_s - measured.server_cpu_s - measured.generator_cpu_s, 0.0)
        / (measured.wall_s * (os.cpu_count() or 1)),
        requests=sum(measured.statuses.values()),
        errors={status: count for status, count in measured.statuses.items() if status != "200"},
    )


def turn(
    contestant: Contestant,
    texts: Sequence[str],
    expected: Sequence[str],
    directory: Path,
    *,
    seconds: float,
    seed: int,
    common_rate_per_s: float,
    settle_s: float = _SETTLE_S,
    in_process: Callable[[float], dict[str, float]] | None = None,
) -> Turn:
    """Start a server and load it with 64, 8 and 1 clients, at half of what it just did, and at the common rate.

    What saturates below the common rate is spared it: its queue would only grow. With `in_process`, which runs the
    graph without a server at a rate (0: as fast as it goes), that is done around the loads that are judged by it.
    """
    bodies = [contestant.encode(text) for text in texts]

    def loaded(name: str, **kind: Any) -> Load:
        if in_process is None or name not in JUDGED_BESIDE:
            return server.load(name, bodies, seconds, seed, **kind)
        before = in_process(0)
        load = server.load(name, bodies, seconds, seed, **kind)
        paced = in_process(load.rate_per_s)["cpu_ms"] if load.rate_per_s else math.nan
        after = in_process(0)
        texts_per_s, cpu_ms = (mean((before[figure], after[figure])) for figure in ("texts_per_s", "cpu_ms"))
        return replace(load, beside=Beside(texts_per_s, cpu_ms, paced))

    with Started(contestant, directory) as server:
        server.wait(texts[0])
        server.check(texts, expected)
        server.load("settling", bodies, settle_s, seed, clients=_SETTLE_CLIENTS)
        loads = [loaded(f"{clients} clients", clients=clients) for clients in CLIENTS]
        capacity_rps = loads[0].rps
        rates = {HALF_LOAD: capacity_rps / 2, COMMON_RATE: common_rate_per_s}
        for name, rate_per_s in rates.items():
            if 0 < rate_per_s < capacity_rps:
                loads.append(loaded(name, rate_per_s=rate_per_s))
        resident_bytes, _ = memory_bytes(server.process.session)
    return Turn({load.name: load for load in loads}, resident_bytes)


def limit(package: Path, texts: Sequence[str], seconds: float, seed: int, rate_per_s: float) -> dict[str, Any]:
    """Measure the graph without a server in every mode, in a process of its own each; and paced at a rate above 0."""
    found = {mode: in_process(package, texts, mode, seconds, seed, 0.0) for mode in MODES}
    if rate_per_s:
        found[COMMON_RATE] = in_process(package, texts, SAME_MODE, seconds, seed, rate_per_s)
    return found


def in_process(
    package: Path, texts: Sequence[str], mode: str, seconds: float, seed: int, rate_per_s: float
) -> dict[str, float]:
    """Run the graph without a server in a process of its own, at a rate, or at 0 as fast as it goes."""
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.serving.limit",
            str(package),
            mode,
            str(seconds),
            str(seed),
            str(rate_per_s),
        ],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        cwd=_ROOT,
        check=True,
    )
    found: dict[str, float] = json.loads(finished.stdout)
    return {
        "texts_per_s": found["texts"] / found["wall_s"],
        "cpu_ms": found["cpu_s"] / found["texts"] * 1e3,
    }
