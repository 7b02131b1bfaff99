"""The command line: its help and its exit codes."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tunelane_pipelines.cli import main as cli
from tunelane_pipelines.samples import SAMPLES
from tunelane_serving.errors import InputError, TunelaneError

_COMMAND = [sys.executable, "-m", "tunelane_pipelines.cli"]


def _tunelane(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["run", "runs", "compile", "serve", "samples"]),
        (["run"], ["--set", "--config", "--require-promotion", "--plain", "--root", "--profile"]),
        (["runs"], ["list", "show", "watch"]),
        (["runs", "list"], ["--limit", "--json", "--root"]),
        (["runs", "show"], ["latest", "--json", "--root"]),
        (["runs", "watch"], ["latest", "--root"]),
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


def test_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    finished = _tunelane("--version", cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (0, f"tunelane {version('tunelane')}\n")


@pytest.mark.parametrize("command", [[], ["samples"], ["runs"]], ids=str)
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

    monkeypatch.setattr("tunelane_pipelines.local.run.run_pipeline", run_pipeline)
    assert _main(monkeypatch, "run", "train-classifier", *options) == code
    expected = f"tunelane: {outcome}\n" if isinstance(outcome, TunelaneError) else ""
    assert capsys.readouterr().err == expected


def test_what_the_system_refuses_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _main(monkeypatch, "predict", "a text", "--package", "x" * 300) == 1
    said = f"tunelane: {'x' * 300}: File name too long. Check the path, who may use it, and the disk.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_a_command_whose_output_is_closed_does_its_work(closed: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"row {row},{'ab'[row % 2]}\n" for row in range(90)))
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *_COMMAND, "data", "build", "rows.csv"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    assert (tmp_path / "dataset" / "train.jsonl").is_file()


def test_a_disk_that_is_full_for_the_output_is_one_line(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$@" >/dev/full', "sh", *_COMMAND, "samples", "list"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert finished.returncode == 1
    assert finished.stderr == "tunelane: No space left on device. Check the path, who may use it, and the disk.\n"


_HELP = """
import sys
from tunelane_pipelines.cli.main import main

sys.argv = ["tunelane", "--help"]
try:
    main()
finally:
    print(*sys.modules)
"""


def test_the_help_is_given_without_paying_for_pipelines(tmp_path: Path) -> None:
    finished = subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert finished.stdout.startswith("Usage: tunelane")
    heavy = {"kfp", "mlflow", "torch", "numpy", "onnxruntime", "pydantic", "rich", "jinja2", "yaml", "sqlite3"}
    assert not heavy & set(finished.stdout.splitlines()[-1].split())


def test_a_terminal_that_cannot_show_a_tick_gets_a_question_mark(tmp_path: Path) -> None:
    script = (
        "import typer; from tunelane_pipelines.cli import main as cli;"
        "cli.app = lambda **_: typer.echo('\u2713 \xfc'); cli.main()"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert (finished.returncode, finished.stdout) == (0, "? ü\n".encode("latin-1"))


@pytest.mark.parametrize("command", [["models", "list"], ["doctor"]])
def test_no_password_is_printed(command: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"TUNELANE_REGISTRY_URI": "postgresql://me:hunter2@db/mlflow"}
    finished = subprocess.run(
        [*_COMMAND, *command, "--root", "root"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert "postgresql://me:***@db/mlflow" in finished.stdout + finished.stderr
    assert "hunter2" not in finished.stdout + finished.stderr
