import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tunelane_serving.deployment import ACTIVE, ActiveRevision, revision_path, write_active
from tunelane_serving.package import package_digest

Build = Callable[..., Path]
Deploy = Callable[..., str]
Start = Callable[..., "object"]


def _run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "tunelane_serving.server", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | environment,
    )


def _assert_refused(ended: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("tunelane-serve: ")
    assert said in ended.stderr


def _until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.fixture
def package(tiny_package: Build, tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "reviews")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_package_is_served_until_a_signal_and_then_the_exit_code_is_0(
    start_server: Start, package: Path, number
) -> None:
    ends_s = []
    # A busy machine may take as long as what is held up would, but not each time.
    while not ends_s or (min(ends_s) >= 4 and len(ends_s) < 5):
        server = start_server("--package", package, "--expected-digest", package_digest(package).upper())
        assert server.url.startswith("http://127.0.0.1:")
        answer = server.client.post("/predict", json={"text": "a good film"}).json()
        assert (answer["label"], answer["model"]) == ("positive", "reviews")

        # The client's connection is still open: an idle one must not hold the end up.
        started_s = time.monotonic()
        assert server.end(number) == 0
        ends_s.append(time.monotonic() - started_s)
        stdout, stderr = server.process.communicate()
        assert stdout == ""
        assert "Traceback" not in stderr
    assert min(ends_s) < 4


def test_a_request_in_flight_is_finished_after_sigterm(start_server: Start, package: Path) -> None:
    server = start_server("--package", package)
    body = b'{"text": "good"}'
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:5])
    # What came later has its answer: by now the server has taken this one, too.
    for _ in range(2):
        assert httpx.get(f"{server.url}/health").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    connection.send(body[5:])
    response = connection.getresponse()
    assert response.status == 200
    assert b'"positive"' in response.read()
    assert server.process.wait(8) == 0


def test_a_load_under_way_does_not_hold_the_end_up(start_server: Start, tmp_path: Path) -> None:
    server = start_server("--deployment", tmp_path)
    # Reading a pipe that nobody writes stands for a load that takes long.
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").rename(tmp_path / ACTIVE)
    time.sleep(0.6)
    assert server.client.get("/health").status_code == 503
    assert server.end(signal.SIGTERM) == 0


def test_a_client_that_never_finishes_its_request_does_not_hold_the_end_up(start_server: Start, package: Path) -> None:
    server = start_server("--package", package)
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.3)
        assert server.end(signal.SIGTERM) == 0


def test_the_flags_are_the_limits_and_a_body_that_is_too_large_gets_its_answer(
    start_server: Start, package: Path
) -> None:
    server = start_server(
        "--package", package, "--max-body-bytes", 1000, "--max-texts", 2, "--max-text-chars", 10, "--workers", 1
    )
    assert server.client.post("/batch_predict", json={"texts": ["a"] * 2}).status_code == 200
    assert server.client.post("/batch_predict", json={"texts": ["a"] * 3}).status_code == 422
    assert server.client.post("/predict", json={"text": "a" * 11}).status_code == 422
    # This client sends its whole body before it reads, and asks for the connection to be closed, as urllib does.
    for body in (b" " * 14_000_000, iter([b" " * 1_000_000] * 14)):
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        connection.request("POST", "/predict", body=body, headers={"Connection": "close"})
        response = connection.getresponse()
        assert response.status == 413
        assert b"body_too_large" in response.read()
        connection.close()


def test_a_client_that_goes_away_leaves_no_traceback(start_server: Start, package: Path) -> None:
    server = start_server("--package", package)
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert server.client.get("/health").status_code == 200
    assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in server.process.communicate()[1]


def test_a_deployment_is_waited_for_and_followed(
    start_server: Start, package: Path, tiny_package: Build, deploy: Deploy, tmp_path: Path
) -> None:
    deployment = tmp_path / "deployment"
    deployment.mkdir()
    server = start_server("--deployment", deployment)
    assert server.client.get("/health").status_code == 503
    assert server.client.post("/predict", json={"text": "good"}).status_code == 503

    digest = deploy(deployment, package, "1")
    _until(lambda: server.client.get("/health").status_code == 200)
    answer = server.client.post("/predict", json={"text": "good"}).json()
    assert (answer["model"], answer["modelVersion"], answer["digest"]) == ("sentiment", "1", digest)

    write_active(deployment, ActiveRevision("sentiment", "2", "0" * 64))
    _until(lambda: server.client.get("/health").json()["reloadError"] != "")
    health = server.client.get("/health")
    assert (health.status_code, health.json()["modelVersion"]) == (200, "1")

    deploy(deployment, tiny_package(tmp_path / "next", bias=(2.0, 0.0)), "2")
    _until(lambda: server.client.get("/health").json()["modelVersion"] == "2")
    assert server.client.get("/health").json()["reloadError"] == ""
    assert server.end(signal.SIGTERM) == 0


def test_a_revision_that_is_there_at_the_start_is_ready_with_the_line(
    start_server: Start, package: Path, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(tmp_path / "deployment", package, "1")
    server = start_server("--deployment", tmp_path / "deployment")
    assert server.client.get("/health").json()["ready"] is True


def test_under_concurrent_requests_every_answer_is_wholly_of_one_version(
    start_server: Start, tiny_package: Build, deploy: Deploy, tmp_path: Path
) -> None:
    deployment = tmp_path / "deployment"
    packages = [tiny_package(tmp_path / f"p{number}", bias=(float(number), 0.0)) for number in range(2)]
    digests = [deploy(deployment, package, f"v{number}") for number, package in enumerate(packages)]
    server = start_server("--deployment", deployment)
    stop = threading.Event()
    answers: list[tuple[tuple[str, str, float], ...]] = []

    def ask() -> None:
        while not stop.is_set():
            response = server.client.post("/batch_predict", json={"texts": ["the film"] * 8})
            assert response.status_code == 200
            answers.append(
                tuple(
                    (answer["modelVersion"], answer["digest"], round(answer["confidence"], 3))
                    for answer in response.json()["predictions"]
                )
            )

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        try:
            for turn in range(6):
                version = turn % 2
                write_active(deployment, ActiveRevision("sentiment", f"v{version}", digests[version]))
                _until(lambda wanted=f"v{version}": server.client.get("/health").json()["modelVersion"] == wanted)
                seen = len(answers)
                _until(lambda seen=seen: len(answers) > seen + 8)
        finally:
            # Else the threads would ask for ever, and be waited for.
            stop.set()
        for task in asking:
            task.result()

    one_version_each = {("v0", digests[0], 0.5), ("v1", digests[1], 0.731)}
    assert {answer for request in answers for answer in request} == one_version_each
    assert all(len(set(request)) == 1 for request in answers)


def test_a_package_that_does_not_load_ends_with_1(package: Path) -> None:
    _assert_refused(_run("--package", package, "--port", 0, "--expected-digest", "0" * 64), 1, "expected 000000000000")
    graph = package / "onnx" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    _assert_refused(_run("--package", package, "--port", 0), 1, "model.onnx")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--package --deployment --model --repository is required"),
        (("--package", "a", "--deployment", "b"), "not allowed with"),
        (("--package", "no/such/directory"), "no/such/directory is not a directory"),
        (("--deployment", "no/such/directory"), "no/such/directory is not a directory"),
        (("--deployment", ".", "--expected-digest", "0" * 64), "--expected-digest goes with --package"),
        (("--package", ".", "--expected-digest", "abc"), "64 hex digits"),
        (("--package", ".", "--port", "70000"), "not a port"),
        (("--package", ".", "--max-texts", "0"), "whole number above 0"),
        (("--package", ".", "--host", "256.0.0.1"), "cannot listen on 256.0.0.1:8080"),
        (("--package", ".", "--host", "a..b"), "cannot listen on a..b:8080: no name of a host"),
        (("--package", ".", "--colour"), "--colour"),
        (("--package", "/", "--port", "0"), "/ is not a model package: it has no manifest.json"),
    ],
)
def test_bad_arguments_end_with_2_and_one_line(arguments: tuple[str, ...], said: str) -> None:
    _assert_refused(_run(*arguments), 2, said)


def test_a_port_in_use_ends_with_2_and_one_line(package: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        _assert_refused(_run("--package", package, "--port", port), 2, f"cannot listen on 127.0.0.1:{port}")


def test_without_a_port_it_is_that_of_the_environment(package: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        _assert_refused(_run("--package", package, PORT=str(port)), 2, f"cannot listen on 127.0.0.1:{port}")
    _assert_refused(_run("--package", package, PORT="http"), 2, "'http' is not a port (0 to 65535)")
    # Set to nothing it is not set: the host does not resolve, whatever the port.
    _assert_refused(_run("--package", package, "--host", "256.0.0.1", PORT=""), 2, "cannot listen on 256.0.0.1:8080")


@pytest.mark.parametrize("name", ["AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE"])
def test_a_route_of_vertex_ai_that_is_no_path_ends_with_2_and_one_line(
    package: Path, tmp_path: Path, name: str
) -> None:
    ended = _run("--package", package, "--home", tmp_path / "home", "--port", 0, **{name: "predict"})
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert lines == [f"tunelane-serve: {name} is 'predict', which is no path of a route; let it begin with /"]


def test_a_port_that_is_given_comes_before_the_environments(
    start_server: Start, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "no port")
    assert start_server("--package", package).client.get("/health").status_code == 200


def test_a_revision_that_fails_at_the_start_is_replaced_by_keyword_rules_that_say_so(
    start_server: Start, package: Path, deploy: Deploy, tmp_path: Path
) -> None:
    deployment = tmp_path / "deployment"
    digest = deploy(deployment, package, "1")
    (revision_path(deployment, digest) / "tokenizer.json").unlink()
    server = start_server("--deployment", deployment)
    health = server.client.get("/health")
    assert (health.status_code, health.json()["fallback"], health.json()["framework"]) == (200, True, "rules")
    assert "tokenizer.json is missing" in health.json()["reloadError"]
    assert server.client.get("/health/ml").json()["status"] == "degraded"
    answer = server.client.post("/predict", json={"text": "a positive film"}).json()
    assert (answer["label"], answer["fallback"], answer["framework"]) == ("positive", True, "rules")

    deploy(tmp_path / "whole", package, "1")
    (revision_path(tmp_path / "whole", digest) / "tokenizer.json").rename(
        revision_path(deployment, digest) / "tokenizer.json"
    )
    write_active(deployment, ActiveRevision("sentiment", "1", digest))
    _until(lambda: not server.client.get("/health").json()["fallback"])
    answer = server.client.post("/predict", json={"text": "a good film"}).json()
    assert (answer["label"], answer["fallback"], answer["digest"]) == ("positive", False, digest)


def test_a_revision_whose_manifest_is_not_to_be_believed_gives_no_labels_to_rules(
    start_server: Start, package: Path, deploy: Deploy, tmp_path: Path
) -> None:
    deployment = tmp_path / "deployment"
    digest = deploy(deployment, package, "1")
    manifest = revision_path(deployment, digest) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    server = start_server("--deployment", deployment)
    assert server.client.get("/health").status_code == 503
    assert server.client.post("/predict", json={"text": "good"}).status_code == 503


def test_a_package_that_does_not_load_is_replaced_by_a_given_taxonomys_rules(
    start_server: Start, package: Path, tmp_path: Path
) -> None:
    taxonomy = tmp_path / "taxonomy.json"
    taxonomy.write_text('{"labels": [{"name": "praise", "keywords": ["good", "lovely"]}, {"name": "blame"}]}')
    server = start_server("--package", package, "--expected-digest", "0" * 64, "--fallback-taxonomy", taxonomy)
    answer = server.client.post("/predict", json={"text": "a lovely film"}).json()
    assert (answer["label"], answer["fallback"]) == ("praise", True)
    assert "expected 000000000000" in server.client.get("/health").json()["reloadError"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--database", "mysql://host/name"), "The database URL begins with mysql://"),
        (("--api-keys", "no/such/keys.json"), "no/such/keys.json: No such file or directory"),
        (("--fallback-taxonomy", "no/such/labels.json"), "--fallback-taxonomy no/such/labels.json"),
        (("--packages", "gs://"), "Pass gs://BUCKET/FOLDER"),
        (("--home", "/proc/no"), "Choose another place"),
    ],
)
def test_what_is_wrong_beside_the_model_ends_with_2_and_one_line_even_while_it_is_loaded(
    package: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    home = () if "--home" in arguments else ("--home", tmp_path / "home")
    ended = _run("--package", package, "--port", 0, *home, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert said in lines[0]


_RUN_IN_A_PROCESS = """
import socket, sys
from tunelane_serving.server import command, running

def lose_the_port(host, port, bind=command._bind):
    listener = bind(host, port)
    others.append(socket.socket())
    others[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    others[0].bind(listener.getsockname())
    others[0].listen()
    return listener

def fail(*_):
    raise ZeroDivisionError("of no known kind")

others = []
running.is_blocked = lambda: True
if sys.argv[1] == "port":
    command._bind = lose_the_port
else:
    running.run = fail
sys.exit(command.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [("port", 2, "tunelane-serve: cannot listen on 127.0.0.1:"), ("other", 1, "ZeroDivisionError: of no known kind")],
)
def test_what_stops_the_server_is_said_even_where_a_thread_is_blocked(
    package: Path, tmp_path: Path, how: str, code: int, said: str
) -> None:
    arguments = ["--package", package, "--port", 0, "--home", tmp_path / "home"]
    ended = subprocess.run(
        [sys.executable, "-c", _RUN_IN_A_PROCESS, how, *map(str, arguments)], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr
    assert ("Traceback" in ended.stderr) == (code == 1)
