"""The command line: its help, its exit codes, and serving."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tunelane_components.registry.open import open_registry
from tunelane_pipelines import cli
from tunelane_pipelines.samples import SAMPLES
from tunelane_serving.deployment import ActiveRevision, revision_path, write_active
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.package import package_digest

_COMMAND = [sys.executable, "-m", "tunelane_pipelines.cli"]


def _tunelane(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["run", "serve", "samples"]),
        (["run"], ["--set", "--config", "--require-promotion", "--root", "--profile"]),
        (["serve"], ["--package", "--model", "--host", "--port", "--root"]),
        (["samples"], ["list", "fetch"]),
        (["samples", "list"], ["List the samples"]),
        (["samples", "fetch"], ["SHA-256"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_every_command_explains_itself(command: list[str], words: list[str], tmp_path: Path) -> None:
    finished = _tunelane(*command, "--help", cwd=tmp_path)
    assert finished.returncode == 0
    assert finished.stdout.startswith(" ".join(["Usage: tunelane", *command]))
    assert all(word in finished.stdout for word in words)


@pytest.mark.parametrize("command", [[], ["samples"]], ids=str)
def test_a_command_without_a_verb_gives_the_help(command: list[str], tmp_path: Path) -> None:
    finished = _tunelane(*command, cwd=tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.startswith("Usage: tunelane")


def test_the_samples_are_listed_with_licence_and_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUNELANE_CACHE_DIR", str(tmp_path))
    assert _main(monkeypatch, "samples", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SAMPLES)
    for line, sample in zip(lines, SAMPLES.values(), strict=True):
        assert sample.licence in line
        assert "not fetched" in line


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the entry point in this process; gives the exit code, None being 0."""
    monkeypatch.setattr(sys, "argv", ["tunelane", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


@pytest.mark.parametrize(
    ("outcome", "options", "code"),
    [
        (True, [], 0),
        (False, [], 0),
        (True, ["--require-promotion"], 0),
        (False, ["--require-promotion"], 3),
        (InputError("no such thing"), [], 2),
        (TunelaneError("a stage failed"), [], 1),
        (KeyboardInterrupt(), [], 130),
    ],
    ids=repr,
)
def test_the_exit_code_of_a_run_says_how_it_ended(
    outcome: bool | BaseException,
    options: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_pipeline(*_: object, **__: object) -> bool:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr("tunelane_pipelines.run.run_pipeline", run_pipeline)
    assert _main(monkeypatch, "run", "train-classifier", *options) == code
    expected = f"tunelane: {outcome}\n" if isinstance(outcome, TunelaneError) else ""
    assert capsys.readouterr().err == expected


@contextmanager
def _serving(*arguments: str, cwd: Path) -> Iterator[tuple["subprocess.Popen[str]", httpx.Client]]:
    """`tunelane serve` on a free port, and a client for it."""
    process = subprocess.Popen(
        [*_COMMAND, "serve", *arguments, "--port", "0"],
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
def test_a_package_is_served_until_a_signal(
    number: signal.Signals, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    package = tiny_package(tmp_path / "package")
    with _serving("--package", "package", cwd=tmp_path) as (process, client):
        assert client.get("/health").json()["digest"] == package_digest(package)
        assert client.post("/predict", json={"text": "a good film"}).json()["label"] == "positive"
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_the_registry_s_champion_is_served_even_where_the_deployment_is_behind_it(
    tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    _deploy(tiny_package, root / "deployments" / "tickets")
    registry = open_registry(f"sqlite:///{root}/registry/registry.db")
    newer = tiny_package(tmp_path / "newer", bias=(0.5, 0.0))
    version = registry.register_candidate("tickets", newer, {})
    # What a run leaves that is killed between the two steps of confirm_champion.
    registry.move_champion("tickets", expected=None, to=version.version)
    with _serving("--model", "tickets", "--root", "root", cwd=tmp_path) as (_, client):
        answer = client.post("/predict", json={"text": "a bad film"}).json()
        assert (answer["label"], answer["model"]) == ("negative", "tickets")
        assert answer["digest"] == version.digest == package_digest(newer)


def test_without_a_champion_it_says_how_to_get_one(tmp_path: Path) -> None:
    finished = _tunelane("serve", "--model", "tickets", "--root", "root", cwd=tmp_path)
    assert finished.returncode == 2
    assert len(finished.stderr.splitlines()) == 1
    assert "No champion of 'tickets' yet." in finished.stderr
    assert "tunelane run train-classifier --set model_name=tickets --set data=FILE" in finished.stderr
    assert not (tmp_path / "root").exists()


def test_without_the_champion_asked_for_it_names_those_there_are(
    tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    for model in ("tickets", "moods"):
        _deploy(tiny_package, tmp_path / "root" / "deployments" / model)
    finished = _tunelane("serve", "--root", "root", cwd=tmp_path)
    assert finished.returncode == 2
    assert "No champion of 'classifier'" in finished.stderr
    assert "there is one of: moods, tickets" in finished.stderr


def _deploy(tiny_package: Callable[..., Path], deployment: Path) -> None:
    digest = package_digest(tiny_package(deployment.parent / "built"))
    path = revision_path(deployment, digest)
    path.parent.mkdir(parents=True)
    (deployment.parent / "built").rename(path)
    write_active(deployment, ActiveRevision(deployment.name, "1", digest))


def test_the_command_line_starts_without_paying_for_pipelines(tmp_path: Path) -> None:
    script = "import sys, tunelane_pipelines.cli; print(*sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert not {"kfp", "mlflow", "torch", "numpy", "onnxruntime", "pydantic"} & set(finished.stdout.split())
