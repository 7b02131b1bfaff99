"""What the shell offers on TAB, through the real entry point."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.added import add_run
from tunelane_pipelines.samples import SAMPLES

_TUNELANE = Path(sys.executable).parent / "tunelane"


@pytest.fixture
def complete(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Complete the last of some words, as bash asks for it; what is not offered is no traceback either."""

    def complete(*words: str, command: tuple[str, ...] = (str(_TUNELANE),)) -> list[str]:
        monkeypatch.setenv("_TUNELANE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["tunelane", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
        assert (finished.returncode, finished.stderr) == (0, "")
        return finished.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ru"], ["run", "runs"]),
        (["run", "tr"], ["train-classifier"]),
        (["run", ""], ["train-classifier", "convert"]),
        (["run", "train-classifier", "--set", "ba"], ["base_model=", "batch_size="]),
        (["run", "--set", "rows=9", "train-classifier", "--set", "min_f"], ["min_f1_delta="]),
        (["run", "convert", "--set", "che"], ["checkpoint="]),
        (["run", "--set", "ba"], []),
        (["run", "no-such-pipeline", "--set", "ba"], []),
        (["run", "train-classifier", "--config", "s"], ["sentiment"]),
        (["samples", "fetch", ""], list(SAMPLES)),
        (["runs", "show", ""], []),
        (["runs", "s"], ["show"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_what_can_stand_there_is_offered(
    words: list[str], offered: list[str], complete: Callable[..., list[str]]
) -> None:
    assert complete(*words) == offered


def test_the_module_completes_as_the_command_does(complete: Callable[..., list[str]]) -> None:
    module = (sys.executable, "-m", "tunelane_pipelines.cli")
    assert complete("run", "tr", command=module) == ["train-classifier"]


def test_runs_are_offered_the_newest_first(place: Path, complete: Callable[..., list[str]]) -> None:
    add_run(place / ".tunelane", "run-a", minute=1)
    add_run(place / ".tunelane", "run-b", minute=2)
    add_run(place / "other", "elsewhere")
    assert complete("runs", "show", "") == ["run-b", "run-a"]
    assert complete("runs", "watch", "run-a") == ["run-a"]
    assert complete("runs", "show", "--root", "other", "") == ["elsewhere"]


def test_a_broken_journal_or_settings_offer_nothing(place: Path, complete: Callable[..., list[str]]) -> None:
    runs = place / ".tunelane" / "runs"
    runs.mkdir(parents=True)
    (runs / "journal.db").write_text("no journal, but long enough to be taken for one" * 40)
    assert complete("runs", "show", "") == []
    (place / ".env").write_text("TUNELANE_PROFILE=broken.yaml\n")
    (place / "broken.yaml").write_text("root: [a,\n")
    assert complete("runs", "show", "") == []
    assert complete("runs", "show", "--profile", "nowhere.yaml", "") == []
    (place / ".env").write_bytes(b"\xff\xfe")
    assert complete("runs", "show", "") == []


def test_the_script_for_the_shell_it_is_asked_from_names_the_command(place: Path) -> None:
    # Another command after it, or the shell would become the command and could not be found as its parent.
    script = f"{_TUNELANE} --show-completion; exit $?"
    finished = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "_TUNELANE_COMPLETE" in finished.stdout
