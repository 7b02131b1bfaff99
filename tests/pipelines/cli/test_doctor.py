"""`tunelane doctor`: each check against a thing that is really broken."""

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_pipelines.runs.journal import JOURNAL, Journal
from tunelane_pipelines.runs.record import LOCK, RunRecord, TaskRecord, write_record
from tunelane_serving.deployment import ACTIVE
from tunelane_serving.files import locked

Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def found(
    here: Here, place: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, dict[str, tuple[str, str, str]]]]:
    """Run the doctor; gives its exit code, and level, finding and advice by the thing that was looked at."""
    monkeypatch.setenv("TUNELANE_CACHE_DIR", str(place / "cache"))

    def found(*arguments: str) -> tuple[int, dict[str, tuple[str, str, str]]]:
        code, said, _ = here("doctor", "--json", *arguments)
        checks = map(json.loads, said.splitlines())
        return code, {check["name"]: (check["level"], check["found"], check["advice"]) for check in checks}

    return found


@pytest.fixture
def champion(
    registry: MlflowRegistry, tiny_package: Callable[..., Path], deploy: Callable[..., Path], place: Path
) -> Path:
    """A champion that is deployed, its package a copy of its own in the deployment; gives the registry's package."""
    package = tiny_package(place / "built")
    digest = registry.register_candidate("tickets", package, {}).digest
    registry.move_champion("tickets", expected=None, to="1")
    deploy(package)
    return place / ".tunelane" / "registry" / "packages" / digest


def test_where_nothing_ran_yet_nothing_is_wrong_and_nothing_is_made(found: Callable[..., tuple], place: Path) -> None:
    code, checks = found()
    assert code == 0
    assert not [name for name, (level, _, _) in checks.items() if level == "problem"]
    assert checks["root usable"][1] == "not there yet; a run makes it"
    assert checks["registry"][0] == checks["sample minilm"][0] == "info"
    assert checks["sample minilm"][2] == "tunelane samples fetch minilm"
    assert checks["root"][1] == f"{place}/.tunelane (default)"
    assert list(place.iterdir()) == []


@pytest.mark.usefixtures("champion")
def test_a_champion_that_serves_is_well(found: Callable[..., tuple]) -> None:
    code, checks = found()
    assert code == 0
    assert checks["registry"][:2] == ("ok", "1 model: tickets")
    assert checks["model tickets"][0] == checks["deployed tickets"][0] == "ok"
    assert checks["deployed tickets"][1] == "the champion, version 1"


@pytest.mark.usefixtures("champion")
def test_in_a_pipe_it_is_one_line_a_thing_with_what_to_do(here: Here, place: Path) -> None:
    (place / ".tunelane" / "deployments" / "tickets" / ACTIVE).unlink()
    code, said, _ = here("doctor")
    assert code == 1
    *lines, empty, last = said.splitlines()
    assert all(re.match(r"[✓·!✗] \S", line) for line in lines)
    assert (
        "✗ deployed tickets   nothing; the champion is version 1 → tunelane serve --model tickets brings the champion."
    ) in lines
    assert (empty, last.startswith("1 problem")) == ("", True)


@pytest.mark.usefixtures("champion")
def test_a_deployment_behind_the_registry_is_healed_by_serving(
    found: Callable[..., tuple],
    registry: MlflowRegistry,
    tiny_package: Callable[..., Path],
    place: Path,
) -> None:
    registry.register_candidate("tickets", tiny_package(place / "newer", bias=(0.5, 0.0)), {})
    registry.move_champion("tickets", expected="1", to="2")
    code, checks = found()
    assert code == 1
    assert checks["deployed tickets"] == (
        "problem",
        "version 1 serves, and the champion is version 2",
        "tunelane serve --model tickets brings the champion.",
    )


def test_a_damaged_package_in_the_registry_is_named(
    found: Callable[..., tuple], champion: Path, damage: Callable[[Path], None]
) -> None:
    damage(champion)
    code, checks = found()
    assert code == 1
    level, said, advice = checks["model tickets"]
    assert level == "problem"
    assert "package is damaged" in said and "model.onnx" in said
    assert "run again" in advice
    assert checks["deployed tickets"][0] == "ok"


@pytest.mark.parametrize("broken", ["graph", "revision", "active"])
def test_a_deployment_that_cannot_be_served_is_named(
    broken: str, found: Callable[..., tuple], champion: Path, damage: Callable[[Path], None], place: Path
) -> None:
    deployment = place / ".tunelane" / "deployments" / "tickets"
    revision = deployment / "revisions" / champion.name
    if broken == "graph":
        damage(revision)
    elif broken == "revision":
        revision.rename(place / "moved")
    else:
        (deployment / ACTIVE).write_text("{}")
    code, checks = found()
    assert code == 1
    assert checks["deployed tickets"][0] == "problem"
    assert checks["deployed tickets"][1].startswith("cannot be served: ")
    assert f"rm {deployment / ACTIVE}; then tunelane serve --model tickets" in checks["deployed tickets"][2]
    assert checks["model tickets"][0] == "ok"


def test_a_deployment_that_no_registry_knows_is_a_warning(
    found: Callable[..., tuple], deploy: Callable[..., Path], tiny_package: Callable[..., Path], place: Path
) -> None:
    deploy(tiny_package(place / "built"))
    code, checks = found()
    assert code == 0
    assert checks["deployed tickets"][0] == "warning"
    assert "the registry has no champion" in checks["deployed tickets"][1]


def test_a_registry_that_is_none_is_named(found: Callable[..., tuple], place: Path) -> None:
    database = place / ".tunelane" / "registry" / "registry.db"
    database.parent.mkdir(parents=True)
    database.write_text("not a database at all")
    code, checks = found()
    assert code == 1
    assert checks["registry"][0] == "problem"
    assert "is not an SQLite file" in checks["registry"][2]


def test_a_registry_whose_tables_are_gone_is_named(found: Callable[..., tuple], champion: Path) -> None:
    connection = sqlite3.connect(champion.parents[1] / "registry.db")
    with connection:
        connection.execute("DROP TABLE model_versions")
    connection.close()
    code, checks = found()
    assert (code, checks["registry"][0]) == (1, "problem")
    assert "does not answer" in checks["registry"][2]


def test_a_run_is_dead_once_its_command_is_gone(found: Callable[..., tuple], place: Path) -> None:
    root = place / ".tunelane"
    record = RunRecord(
        "convert-1", "convert", "Convert", "local", datetime.now(UTC), "tunelane run", {}, {}, {},
        (TaskRecord("export-onnx", "Export", "export_onnx"),),
    )  # fmt: skip
    directory = root / "runs" / record.run_id
    write_record(directory, record)
    Journal(root).enter(record, str(directory))
    with locked(directory / LOCK):
        assert found()[1]["runs"] == ("ok", "1 in the journal", "")
    assert found()[1]["runs"] == (
        "warning",
        "marked as running, but the command is gone: convert-1",
        "tunelane runs list marks them as interrupted.",
    )
    # It looks, and changes nothing.
    assert Journal(root).entries()[0].state == "running"


def test_a_journal_that_is_none_is_named(found: Callable[..., tuple], place: Path) -> None:
    journal = place / ".tunelane" / "runs" / JOURNAL
    journal.parent.mkdir(parents=True)
    journal.write_text("not a database at all, and long enough to be looked at as one " * 20)
    code, checks = found()
    assert (code, checks["runs"][0]) == (1, "problem")
    assert "is no journal of runs" in checks["runs"][2]


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("file/root", "file cannot be written: Not a directory"),
        ("file", "file cannot be written: Not a directory"),
        ("/proc/nowhere/root", "/proc cannot be written"),
        ("python3.12/root", '"python3" in its path'),
    ],
)
def test_a_root_that_cannot_be_used_is_named(root: str, words: str, found: Callable[..., tuple], place: Path) -> None:
    (place / "file").touch()
    code, checks = found("--root", root)
    assert (code, checks["root usable"][0]) == (1, "problem")
    assert words in checks["root usable"][1]
    assert "--root" in checks["root usable"][2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"roooot: x\n", "No setting 'roooot'. Did you mean 'root'?"),
        (b"root: 5\n", "root: "),
        (b"- root\n", "not a mapping"),
        (None, "No such file"),
    ],
)
def test_bad_settings_are_a_line_and_no_crash(
    content: bytes | None, words: str, found: Callable[..., tuple], place: Path
) -> None:
    if content is not None:
        (place / "profile.yaml").write_bytes(content)
    code, checks = found("--profile", "profile.yaml")
    assert (code, checks["settings"][0]) == (1, "problem")
    assert words in checks["settings"][1]
    assert checks["python"][0] == checks["torch"][0] == "ok"


def test_a_dotenv_that_is_not_utf8_is_a_line(found: Callable[..., tuple], place: Path) -> None:
    (place / ".env").write_bytes("TUNELANE_ROOT=caf\u00e9\n".encode("latin-1"))
    code, checks = found()
    assert (code, checks["settings"][:2]) == (1, ("problem", ".env: not UTF-8 at byte 17. Save it as UTF-8."))
