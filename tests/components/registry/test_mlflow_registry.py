import functools
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunelane_components.registry.interface import ChampionMoved, ModelVersion
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_serving.errors import ContractError, DigestMismatch, InputError
from tunelane_serving.package import MANIFEST, package_digest, read_manifest, verify

BuildPackage = Callable[..., Path]


@pytest.fixture
def package(tiny_package: BuildPackage, tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "package")


@pytest.fixture
def challenger(tiny_package: BuildPackage, tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "challenger", bias=(0.5, 0.0))


def rows(database: Path, query: str) -> list[tuple[str, ...]]:
    """Ask the database itself, past MLflow."""
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_before_the_first_registration_there_is_no_champion_and_nothing_is_made(database: Path, tmp_path: Path) -> None:
    registry = MlflowRegistry(database)
    assert registry.champion("sentiment") is None
    with pytest.raises(InputError, match="no registry"):
        registry.fetch("sentiment", "0" * 64, tmp_path / "fetched")
    assert not database.parent.exists()


def test_asking_for_a_champion_before_the_first_registration_does_not_load_mlflow(database: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tunelane_components.registry.mlflow_registry import MlflowRegistry\n"
        "assert MlflowRegistry(Path(sys.argv[1])).champion('sentiment') is None\n"
        "assert 'mlflow' not in sys.modules and 'sqlalchemy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(database)], check=True)


def test_a_candidate_becomes_the_first_champion_and_is_fetched_whole(
    registry: MlflowRegistry, database: Path, package: Path, tmp_path: Path
) -> None:
    digest = package_digest(package)
    taxonomy = read_manifest(package).taxonomy
    assert taxonomy is not None
    candidate = registry.register_candidate("sentiment", package, {"tunelane.run_id": "run-7"})
    assert candidate == ModelVersion("sentiment", "1", digest, taxonomy.digest)
    assert registry.champion("sentiment") is None
    registry.move_champion("sentiment", expected=None, to="1")
    assert MlflowRegistry(database).champion("sentiment") == candidate
    assert registry.fetch("sentiment", digest, tmp_path / "fetched") == candidate
    verify(tmp_path / "fetched", expected_digest=digest)
    assert dict(rows(database, "SELECT key, value FROM model_version_tags")) == {
        "tunelane.digest": digest,
        "tunelane.taxonomy_digest": taxonomy.digest,
        "tunelane.run_id": "run-7",
    }
    assert rows(database, "SELECT source FROM model_versions") == [(str(database.parent / "packages" / digest),)]


def test_the_same_package_registered_again_gets_the_version_it_has(
    registry: MlflowRegistry, database: Path, package: Path, challenger: Path
) -> None:
    first = registry.register_candidate("sentiment", package, {})
    assert registry.register_candidate("sentiment", challenger, {}).version == "2"
    assert MlflowRegistry(database).register_candidate("sentiment", package, {"late": "tag"}) == first
    assert registry.register_candidate("other", package, {}).version == "1"
    assert rows(database, "SELECT name, version FROM model_versions ORDER BY name, version") == [
        ("other", 1), ("sentiment", 1), ("sentiment", 2)
    ]  # fmt: skip
    assert len(list((database.parent / "packages").iterdir())) == 2


def test_processes_that_register_the_very_first_candidates_at_once_agree_on_their_versions(
    race: Callable[..., list[str]], database: Path, package: Path, challenger: Path
) -> None:
    register = """
versions = {{path: registry.register_candidate("sentiment", Path(path), {{}}).version for path in ({!r}, {!r})}}
print(sorted(versions.items()))
"""
    one, other = str(package), str(challenger)
    said = race(register.format(one, other), register.format(other, one))
    assert said[0] == said[1]
    assert rows(database, "SELECT version FROM model_versions ORDER BY version") == [(1,), (2,)]
    for path in (package, challenger):
        verify(database.parent / "packages" / package_digest(path))


def test_of_two_processes_that_move_the_champion_exactly_one_wins(
    race: Callable[..., list[str]], registry: MlflowRegistry, package: Path, challenger: Path
) -> None:
    registry.register_candidate("sentiment", package, {})
    registry.register_candidate("sentiment", challenger, {})
    move = """
try:
    registry.move_champion("sentiment", expected=None, to="{}")
    print("won")
except ChampionMoved as error:
    print(error)
"""
    said = race(move.format(1), move.format(2))
    winner = said.index("won") + 1
    loser_said = said[2 - winner]
    assert loser_said == (
        f"The champion of 'sentiment' moved from nobody to version {winner} while this run was going; "
        "nothing was changed. Run again to be compared with it."
    )
    champion = registry.champion("sentiment")
    assert champion is not None and champion.version == str(winner)


def test_a_champion_is_moved_only_from_the_version_that_was_expected(
    registry: MlflowRegistry, package: Path, challenger: Path
) -> None:
    registry.register_candidate("sentiment", package, {})
    registry.register_candidate("sentiment", challenger, {})
    registry.move_champion("sentiment", expected=None, to="1")
    with pytest.raises(ChampionMoved, match="from nobody to version 1"):
        registry.move_champion("sentiment", expected=None, to="2")
    with pytest.raises(ChampionMoved, match="from version 2 to version 1"):
        registry.move_champion("sentiment", expected="2", to="2")
    with pytest.raises(InputError, match="no version '3'"):
        registry.move_champion("sentiment", expected="1", to="3")
    with pytest.raises(InputError, match="no version 'latest'"):
        registry.move_champion("sentiment", expected="1", to="latest")
    champion = registry.champion("sentiment")
    assert champion is not None and champion.version == "1"
    registry.move_champion("sentiment", expected="1", to="2")
    registry.move_champion("sentiment", expected="2", to=None)
    assert registry.champion("sentiment") is None


def test_a_stored_package_that_was_tampered_with_is_not_handed_out(
    registry: MlflowRegistry, database: Path, package: Path, tmp_path: Path
) -> None:
    digest = registry.register_candidate("sentiment", package, {}).digest
    graph = database.parent / "packages" / digest / "onnx" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.unlink()
    graph.write_bytes(content)
    with pytest.raises(DigestMismatch, match=r"model\.onnx"):
        registry.fetch("sentiment", digest, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    # Registering the true one again puts it right.
    registry.register_candidate("sentiment", package, {})
    registry.fetch("sentiment", digest, tmp_path / "fetched")


@pytest.mark.parametrize("digest", ["0" * 64, "' OR 1=1 --", "../../etc"])
def test_an_unknown_digest_is_the_user_s_mistake(
    registry: MlflowRegistry, package: Path, tmp_path: Path, digest: str
) -> None:
    registry.register_candidate("sentiment", package, {})
    with pytest.raises(InputError, match="has no version with digest"):
        registry.fetch("sentiment", digest, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_package_is_known_only_under_the_names_it_was_registered_with(
    registry: MlflowRegistry, package: Path, tmp_path: Path
) -> None:
    digest = registry.register_candidate("sentiment", package, {}).digest
    with pytest.raises(InputError, match="'other' has no version"):
        registry.fetch("other", digest, tmp_path / "fetched")
    assert registry.champion("other") is None


def test_a_registry_that_was_moved_as_a_directory_still_has_its_packages(
    registry: MlflowRegistry, database: Path, package: Path, tmp_path: Path
) -> None:
    digest = registry.register_candidate("sentiment", package, {}).digest
    moved = tmp_path / "moved"
    shutil.copytree(database.parent, moved)
    shutil.rmtree(database.parent)
    MlflowRegistry(moved / database.name).fetch("sentiment", digest, tmp_path / "fetched")
    verify(tmp_path / "fetched", expected_digest=digest)


def test_a_broken_package_is_not_registered(registry: MlflowRegistry, database: Path, package: Path) -> None:
    (package / "notes.txt").write_text("left over")
    with pytest.raises(ContractError, match=r"notes\.txt is not in the manifest"):
        registry.register_candidate("sentiment", package, {})
    (package / "notes.txt").unlink()
    (package / MANIFEST).unlink()
    with pytest.raises(ContractError, match="not a model package"):
        registry.register_candidate("sentiment", package, {})
    assert registry.champion("sentiment") is None
    assert not list((database.parent).glob("packages/*"))


@pytest.mark.parametrize(
    "killed_in",
    ["Path.replace", "MlflowClient.create_model_version"],
)
def test_a_process_killed_in_the_middle_of_a_registration_does_not_stop_the_next(
    database: Path, package: Path, killed_in: str
) -> None:
    # The tables are made but not in place; the package is stored and the model made, but it has no version.
    code = f"""
import os, signal, sys
from pathlib import Path
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow.tracking import MlflowClient
from tunelane_components.registry.mlflow_registry import MlflowRegistry
{killed_in} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
MlflowRegistry(Path(sys.argv[1])).register_candidate("sentiment", Path(sys.argv[2]), {{}})
"""
    killed = subprocess.run([sys.executable, "-c", code, str(database), str(package)], check=False)
    assert killed.returncode == -9
    registry = MlflowRegistry(database)
    assert registry.champion("sentiment") is None
    assert registry.register_candidate("sentiment", package, {}).version == "1"
    registry.move_champion("sentiment", expected=None, to="1")
    assert rows(database, "SELECT version FROM model_versions") == [(1,)]


def test_a_champion_that_another_tool_registered_is_named_as_such(
    registry: MlflowRegistry, database: Path, package: Path
) -> None:
    registry.register_candidate("sentiment", package, {})
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("DELETE FROM model_version_tags")
    connection.close()
    registry.move_champion("sentiment", expected=None, to="1")
    with pytest.raises(InputError, match="Version 1 of 'sentiment' has no tag"):
        registry.champion("sentiment")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a:b", "it's", "-x", ".hidden", "x" * 129])
def test_a_name_that_is_no_name_is_refused(package: Path, database: Path, name: str) -> None:
    registry = MlflowRegistry(database)
    with pytest.raises(InputError, match="cannot be used"):
        registry.champion(name)
    with pytest.raises(InputError, match="cannot be used"):
        registry.register_candidate(name, package, {})


def test_a_path_that_cannot_hold_a_registry_is_refused_at_once(database: Path, package: Path, tmp_path: Path) -> None:
    registry = MlflowRegistry(database)
    database.parent.mkdir()
    database.write_text("not a database at all")
    with pytest.raises(InputError, match="not an SQLite file"):
        registry.champion("sentiment")
    with pytest.raises(InputError, match="not an SQLite file"):
        registry.register_candidate("sentiment", package, {})
    with pytest.raises(InputError, match="Cannot write"):
        MlflowRegistry(database / "registry.db").register_candidate("sentiment", package, {})
    with pytest.raises(InputError, match="relative"):
        MlflowRegistry(Path("registry.db"))
    with pytest.raises(InputError, match="Choose another directory"):
        MlflowRegistry(tmp_path / "100%" / "registry.db")


def test_a_path_with_spaces_and_quotes_holds_a_registry(package: Path, tmp_path: Path) -> None:
    database = tmp_path / "it's a place" / "registry.db"
    MlflowRegistry(database).register_candidate("sentiment", package, {})
    assert sorted(path.name for path in database.parent.iterdir()) == ["packages", "registry.db", "registry.db.lock"]


def test_nothing_is_sent_over_the_network_and_nothing_is_said(database: Path, package: Path) -> None:
    code = """
import sys
from pathlib import Path
connected = []
watched = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, _: connected.append(event) if event in watched else None)
from tunelane_components.registry.mlflow_registry import MlflowRegistry
registry = MlflowRegistry(Path(sys.argv[1]))
registry.register_candidate("sentiment", Path(sys.argv[2]), {})
registry.move_champion("sentiment", expected=None, to="1")
import threading, time
time.sleep(0.3)
assert not connected, connected
assert threading.active_count() == 1, threading.enumerate()
"""
    silencers = {"MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI", "PYTEST_CURRENT_TEST"}
    environment = {name: value for name, value in os.environ.items() if name not in silencers}
    run = subprocess.run(
        [sys.executable, "-c", code, str(database), str(package)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_models_and_versions_are_listed_the_newest_first_with_their_champion(
    registry: MlflowRegistry, database: Path, package: Path, challenger: Path
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    registry.register_candidate("tickets", package, {})
    for path, tags in ((package, {"tunelane.run_id": "run-7"}), (challenger, {})):
        registry.register_candidate("sentiment", path, tags)
    registry.move_champion("sentiment", expected=None, to="1")
    assert registry.names() == ["sentiment", "tickets"]
    newest, oldest = registry.versions("sentiment")
    assert (newest.version, newest.is_champion, newest.digest) == ("2", False, package_digest(challenger))
    assert (oldest.version, oldest.is_champion, oldest.digest) == ("1", True, package_digest(package))
    assert oldest.tags["tunelane.run_id"] == "run-7"
    assert before <= oldest.registered_at <= newest.registered_at <= datetime.now(UTC)
    verify(Path(oldest.package), expected_digest=oldest.digest)
    assert registry.versions("nobody") == []


def test_more_models_and_versions_than_a_page_holds_are_all_listed(
    registry: MlflowRegistry, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{database}", f"sqlite:///{database}")
    for name in "abc":
        client.create_registered_model(name)
    for _ in range(12):
        client.create_model_version("a", "/somewhere")
    for search, size in (("search_registered_models", 2), ("search_model_versions", 5)):
        monkeypatch.setattr(
            MlflowClient, search, functools.partialmethod(getattr(MlflowClient, search), max_results=size)
        )
    monkeypatch.setattr("tunelane_components.registry.mlflow_registry._open_client", lambda _: client)
    assert registry.names() == ["a", "b", "c"]
    assert [version.version for version in registry.versions("a")] == [str(number) for number in range(12, 0, -1)]
    # Another tool's: it has no digest, and its package is wherever that tool says.
    assert {(version.digest, version.package) for version in registry.versions("a")} == {("", "/somewhere")}


def test_listing_where_there_is_no_registry_makes_none(database: Path) -> None:
    registry = MlflowRegistry(database)
    assert registry.names() == registry.versions("sentiment") == []
    assert not database.parent.exists()
    with pytest.raises(InputError, match="cannot be used"):
        registry.versions("it's")
