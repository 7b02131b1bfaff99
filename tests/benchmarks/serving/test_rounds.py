import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving.cold import cold_start, golden_row
from benchmarks.serving.contestants import Contestant
from benchmarks.serving.load import Measured
from benchmarks.serving.processes import ServerFailed
from benchmarks.serving.rounds import COMMON_RATE, HALF_LOAD, Started, summed_up, turn

# Answers every text with its length as the label, from a server that is ready only after a while.
SERVER = """
import http.server, json, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        text = json.loads(self.rfile.read(int(self.headers["content-length"])))["text"]
        answer = json.dumps({"label": str(len(text)), "scores": {"a": 0.75, "b": 0.25}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_): pass
time.sleep(0.2)
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
TEXTS = ["one", "three", "seventeen"]
LABELS = ["3", "5", "9"]
MANIFEST = """{"variants": [{"name": "int8", "golden_tolerance": 0.01}], "goldens": [
{"text": "good", "scores": {"int8": [%s, 0.25]}}], "taxonomy": {"labels": [{"name": "a"}, {"name": "b"}]}}"""


def _contestant(program: str = SERVER) -> Contestant:
    return Contestant("stub", lambda port, _: [sys.executable, "-c", program, str(port)])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Started]:
    with Started(_contestant(), tmp_path) as started:
        yield started


def test_the_first_answer_is_waited_for(server: Started) -> None:
    answer, seconds = server.wait("hello")
    assert answer["label"] == "5"
    assert seconds > 0.2


def test_another_label_than_expected_is_no_comparison(server: Started) -> None:
    server.wait(TEXTS[0])
    server.check(TEXTS, LABELS)
    with pytest.raises(ServerFailed, match="stub: 2 of 3 labels"):
        server.check(TEXTS, ["3", "5", "10"])


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    with (
        Started(_contestant("exit('there is no such model')"), tmp_path) as started,
        pytest.raises(ServerFailed, match="stub ended: there is no such model"),
    ):
        started.wait("hello")


def test_a_turn_loads_in_every_way_but_above_the_capacity(tmp_path: Path) -> None:
    found = turn(_contestant(), TEXTS, LABELS, tmp_path, seconds=0.2, seed=0, common_rate_per_s=1e9, settle_s=0.1)
    assert set(found.loads) == {"64 clients", "8 clients", "1 clients", HALF_LOAD}
    assert found.loads[HALF_LOAD].rate_per_s == found.loads["64 clients"].rps / 2
    assert all(load.rps > 0 and load.cpu_ms >= 0 and not load.errors for load in found.loads.values())
    assert COMMON_RATE not in found.loads


def test_figures_count_good_answers_alone() -> None:
    measured = Measured(2.0, {"200": 4, "503": 6}, [4.0, 1.0, 3.0, 2.0], 0.4, 0.1, 0.6, 8)
    load = summed_up("64 clients", 0.0, measured)
    assert (load.rps, load.p50_ms, load.p99_ms) == (2.0, 2.0, 4.0)
    assert (load.cpu_ms, load.generator_cpu_us) == pytest.approx((100.0, 25_000.0))
    assert (load.requests, load.errors) == (10, {"503": 6})


def test_without_a_good_answer_there_are_no_figures() -> None:
    load = summed_up("64 clients", 0.0, Measured(1.0, {"closed": 3}, [], 0.1, 0.1, 0.2, 1))
    assert load.rps == 0
    assert math.isnan(load.p99_ms)
    assert math.isnan(load.cpu_ms)


def test_a_cold_start_must_end_in_the_golden_answer(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(MANIFEST % "0.755")
    start = cold_start(_contestant(), tmp_path, TEXTS, tmp_path / "right")
    assert start.first_answer_s > 0.2
    assert start.peak_bytes >= start.resident_bytes > 10**6
    (tmp_path / "manifest.json").write_text(MANIFEST % "0.5")
    with pytest.raises(ServerFailed, match="the first answer is wrong"):
        cold_start(_contestant(), tmp_path, TEXTS, tmp_path / "wrong")


def test_a_package_without_golden_rows_cannot_be_judged(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"goldens": []}')
    with pytest.raises(ServerFailed, match="no golden rows"):
        golden_row(tmp_path)
