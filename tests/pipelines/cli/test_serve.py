"""`tunelane serve`: what it serves, and what it refuses."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_serving.package import package_digest

Build = Callable[..., Path]


@contextmanager
def _serving(*arguments: str, cwd: Path) -> Iterator[tuple["subprocess.Popen[str]", httpx.Client]]:
    """`tunelane serve` on a free port, and a client for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tunelane_pipelines.cli", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    assert process.stdout is not None
    try:
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
        assert found is not None
        with httpx.Client(base_url=found[1], timeout=10) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_package_is_served_until_a_signal(number: signal.Signals, tiny_package: Build, place: Path) -> None:
    package = tiny_package(place / "package")
    with _serving("--package", "package", cwd=place) as (process, client):
        assert client.get("/health").json()["digest"] == package_digest(package)
        assert client.post("/predict", json={"text": "a good film"}).json()["label"] == "positive"
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_the_registry_s_champion_is_served_even_where_the_deployment_is_behind_it(
    tiny_package: Build, deploy: Callable[..., Path], registry: MlflowRegistry, place: Path
) -> None:
    deploy(tiny_package(place / "older"))
    newer = tiny_package(place / "newer", bias=(0.5, 0.0))
    version = registry.register_candidate("tickets", newer, {})
    # What a run leaves that is killed between the two steps of confirm_champion.
    registry.move_champion("tickets", expected=None, to=version.version)
    # No model is named: the only one that is deployed is meant.
    with _serving(cwd=place) as (_, client):
        answer = client.post("/predict", json={"text": "a bad film"}).json()
        assert (answer["label"], answer["model"]) == ("negative", "tickets")
        assert answer["digest"] == version.digest == package_digest(newer)


def test_without_a_champion_it_says_how_to_get_one(refused: Callable[..., str], place: Path) -> None:
    message = refused("serve", "--model", "tickets")
    assert "No champion of 'tickets' yet." in message
    assert "tunelane run train-classifier --set model_name=tickets --set data=FILE" in message
    assert list(place.iterdir()) == []
    # What is advised makes a champion where this command looks for one.
    message = refused("serve", "--model", "tickets", "--root", "my root")
    assert message.endswith("--set model_name=tickets --set data=FILE --root 'my root'\n")


def test_without_the_champion_asked_for_it_names_those_there_are(
    tiny_package: Build, deploy: Callable[..., Path], refused: Callable[..., str], place: Path
) -> None:
    for model in ("tickets", "moods"):
        deploy(tiny_package(place / "package"), model)
    message = refused("serve")
    assert "No champion of 'classifier'" in message
    assert "there is one of: moods, tickets" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--package", "nowhere"], "nowhere is not a directory; pass one to --package"),
        (["--package", "empty"], "empty is not a model package: it has no manifest.json"),
        (["--package", "empty", "--model", "tickets"], "Pass --model or --package, not both"),
        (["--model", "../tickets"], "Model name '../tickets' cannot be used"),
        (["--port", "65536"], "Invalid value for '--port': Input should be less than or equal to 65535"),
        (["--port", "http"], "Invalid value for '--port': Input should be a valid integer"),
        (["--package", "package", "--host", "300.1.1.1"], "cannot listen on 300.1.1.1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_is_one_line(
    arguments: list[str], words: str, refused: Callable[..., str], tiny_package: Build, place: Path
) -> None:
    (place / "empty").mkdir()
    tiny_package(place / "package")
    assert words in refused("serve", *arguments)


def test_a_port_in_use_is_named(refused: Callable[..., str], tiny_package: Build, place: Path) -> None:
    tiny_package(place / "package")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused("serve", "--package", "package", "--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; pass another --host or --port" in message


def test_a_damaged_package_is_not_served(
    tunelane: Callable[..., "subprocess.CompletedProcess[str]"],
    tiny_package: Build,
    damage: Callable[[Path], None],
    place: Path,
) -> None:
    damage(tiny_package(place / "package"))
    finished = tunelane("serve", "--package", "package", "--port", "0")
    assert finished.returncode == 1
    assert "model.onnx: digest is" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
