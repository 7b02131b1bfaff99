import os
import pwd
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from tunelane_serving.database import database as module
from tunelane_serving.database.database import Database, sqlite_url
from tunelane_serving.database.tables import features, metadata, schema_version
from tunelane_serving.errors import InputError
from tunelane_serving.problems import DatabaseAway

_OPEN_IT = """
import sys
from tunelane_serving.database.database import Database
sys.stdin.readline()
with Database(sys.argv[1]).transaction() as connection:
    print(connection.exec_driver_sql("SELECT count(*) FROM schema_version").scalar())
"""

# Threads of one process do not meet at it.
_MAKE_FILES = """
import sys
from multiprocessing import Barrier, Process
from tunelane_serving.database.database import _prepare_sqlite_file

def make(together):
    for number in range(25):
        together.wait(timeout=60)
        _prepare_sqlite_file(f"{sys.argv[1]}/{number}")

together = Barrier(4)
processes = [Process(target=make, args=(together,)) for _ in range(4)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(max(process.exitcode for process in processes))
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(database_url)) as database:
        yield database


def _write(database: Database, entity_id: str, content: str = "{}") -> None:
    with database.transaction() as connection:
        connection.execute(insert(features).values(entity_id=entity_id, features=content, updated_at=0.0))


def _read(database: Database) -> dict[str, str]:
    with database.transaction() as connection:
        return {row.entity_id: row.features for row in connection.execute(select(features))}


def test_the_first_use_makes_the_tables(database: Database) -> None:
    with database.transaction() as connection:
        assert set(inspect(connection).get_table_names()) == set(metadata.tables)


def test_naming_a_database_opens_nothing(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path / 'here.db'}").close()
    Database("postgresql://nobody@nowhere.invalid/none").close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_committed_is_there_for_the_next_one(database: Database, database_url: str) -> None:
    _write(database, "a")
    database.close()
    _write(database, "b")
    with closing(Database(database_url)) as other:
        assert set(_read(other)) == {"a", "b"}


def test_a_block_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        connection.execute(insert(features).values(entity_id="a", features="{}", updated_at=0.0))
        raise ZeroDivisionError
    assert _read(database) == {}


def test_a_broken_constraint_is_told_to_the_caller_as_it_is(database: Database) -> None:
    _write(database, "a")
    with pytest.raises(IntegrityError):
        _write(database, "a")


def test_threads_that_open_it_together_share_one_pool(database: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: _write(database, str(number)), range(40)))
    assert len(_read(database)) == 40


def test_processes_that_open_an_empty_database_together_do_not_collide(database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN_IT, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [(process.communicate()[0], process.returncode) for process in processes] == [("1\n", 0)] * 2


def test_instances_that_open_an_empty_database_together_do_not_collide(database_url: str) -> None:
    together = threading.Barrier(8)

    def open_it(number: int) -> None:
        with closing(Database(database_url)) as database:
            together.wait()
            _write(database, str(number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(open_it, range(8)))
    with closing(Database(database_url)) as database:
        assert len(_read(database)) == 8


def test_a_sqlite_file_that_several_processes_make_together_is_waited_for(tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, "-c", _MAKE_FILES, str(tmp_path)], capture_output=True, text=True)
    # SQLite may leave the log of a file beside it, where the last two let go of it at the same moment.
    made_files = {path.name for path in tmp_path.iterdir() if path.name.isdigit()}
    assert (made.stderr, made_files) == ("", set(map(str, range(25))))


def test_holders_of_one_lock_take_turns(database: Database, database_url: str) -> None:
    _write(database, "counter", "0")

    def count(instance: Database) -> None:
        for _ in range(10):
            with instance.transaction(lock="counter") as connection:
                value = int(connection.execute(select(features.c.features)).scalar_one())
                connection.execute(update(features).values(features=str(value + 1)))

    with closing(Database(database_url)) as other, ThreadPoolExecutor(4) as threads:
        list(threads.map(count, [database, other, database, other]))
    assert _read(database) == {"counter": "40"}


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    _write(database, "a")
    with database.transaction(lock="any") as connection:
        connection.execute(insert(features).values(entity_id="b", features="{}", updated_at=0.0))
        with ThreadPoolExecutor(1) as thread:
            # One that waited would fail after 10 s.
            assert set(thread.submit(_read, database).result(timeout=60)) == {"a"}


def test_a_transaction_that_reads_twice_on_sqlite_sees_one_state(tmp_path: Path) -> None:
    with closing(Database(sqlite_url(tmp_path / "tunelane.db"))) as database:
        with database.transaction() as connection:
            before = connection.execute(select(features.c.entity_id)).all()
            with ThreadPoolExecutor(1) as thread:
                thread.submit(_write, database, "a").result(timeout=60)
            assert connection.execute(select(features.c.entity_id)).all() == before == []
        assert set(_read(database)) == {"a"}


def test_a_lock_that_is_not_given_up_is_a_database_away(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_TIMEOUT_S", 1)
    with closing(Database(database_url)) as database:
        with database.transaction(lock="one"), ThreadPoolExecutor(1) as thread:

            def wait_for_it() -> None:
                with database.transaction(lock="one"):
                    pass

            with pytest.raises(DatabaseAway) as caught:
                thread.submit(wait_for_it).result()
        assert caught.value.retry_after_s
        _write(database, "works again")


def test_a_pool_that_is_used_up_is_a_database_away(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POOL_TIMEOUT_S", 0.05)
    with closing(Database(database_url)) as database:
        with ExitStack() as held, pytest.raises(DatabaseAway):
            for _ in range(50):
                held.enter_context(database.transaction())
        _write(database, "works again")


def test_one_connection_serves_durable_transactions_and_others(tmp_path: Path) -> None:
    with closing(Database(sqlite_url(tmp_path / "tunelane.db"))) as database:
        found = []
        for durable in (True, False, True, True, False):
            with database.transaction(durable=durable) as connection:
                found.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())
        # https://www.sqlite.org/pragma.html#pragma_synchronous: 1 is NORMAL, 2 is FULL.
        assert found == [2, 1, 2, 2, 1]
        with database.transaction() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_postgresql_waits_for_the_disk_only_where_it_must(postgres_database_url: str) -> None:
    with closing(Database(postgres_database_url)) as database:
        found = []
        for durable in (True, False, True):
            with database.transaction(durable=durable) as connection:
                found.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar())
        assert found == ["on", "off", "on"]


def test_a_postgresql_that_comes_up_later_is_used_then(postgres_server: object, postgres_database_url: str) -> None:
    postgres_server.stop()  # type: ignore[attr-defined]
    with closing(Database(postgres_database_url)) as database:
        try:
            for _ in range(2):
                with pytest.raises(DatabaseAway, match="does not answer") as caught:
                    _read(database)
                assert "\n" not in str(caught.value)
        finally:
            postgres_server.start()  # type: ignore[attr-defined]
        assert _read(database) == {}


def test_after_a_crash_of_postgresql_the_next_transaction_works(
    postgres_server: object, postgres_database_url: str
) -> None:
    with closing(Database(postgres_database_url)) as database:
        _write(database, "a")
        try:
            with pytest.raises(DatabaseAway), database.transaction() as connection:
                connection.execute(insert(features).values(entity_id="b", features="{}", updated_at=0.0))
                postgres_server.stop()  # type: ignore[attr-defined]
        finally:
            postgres_server.start()  # type: ignore[attr-defined]
        assert set(_read(database)) == {"a"}


def test_a_restart_of_postgresql_between_two_transactions_goes_unnoticed(
    postgres_server: object, postgres_database_url: str
) -> None:
    with closing(Database(postgres_database_url)) as database:
        _write(database, "a")
        postgres_server.stop()  # type: ignore[attr-defined]
        postgres_server.start()  # type: ignore[attr-defined]
        _write(database, "b")
        assert set(_read(database)) == {"a", "b"}


def test_a_user_who_may_not_make_tables_is_told(postgres_server: object, postgres_database_url: str) -> None:
    name = "reader_of_" + postgres_database_url[-32:]
    postgres_server.execute(f"CREATE ROLE {name} LOGIN")  # type: ignore[attr-defined]
    try:
        url = postgres_database_url.replace("tunelane@", f"{name}@")
        with pytest.raises(InputError, match="Let the database's user create tables"):
            _read(Database(url))
    finally:
        postgres_server.execute(f"DROP ROLE {name}")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "here.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:here.db?uri=true",
        "sqlite+aiosqlite:///here.db",
        "mysql://user:secret@host/name",
        "postgres://user:secret@host/name",
        "postgresql://user:secret@host:port/name",
        "postgresql//user:secret@host/name",
    ],
)
def test_a_url_that_names_no_database_is_the_users_mistake(url: str) -> None:
    with pytest.raises(InputError, match="Pass sqlite:///PATH or postgresql://") as caught:
        _read(Database(url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "here.db", "mysql://user:secret@host/name", "postgresql//user:secret@host/name"])
def test_a_url_that_nothing_could_open_is_seen_before_it_is_opened(url: str) -> None:
    with pytest.raises(InputError, match="Pass sqlite:///PATH or postgresql://") as caught:
        Database(url).check_url()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["missing/tunelane.db", "file/tunelane.db", "directory", "file"])
def test_a_place_where_no_sqlite_database_can_be_is_the_users_mistake(tmp_path: Path, place: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("This is no database. " * 100)
    with pytest.raises(InputError, match="Choose a file that you may write to"):
        _read(Database(f"sqlite:///{tmp_path / place}"))


@pytest.mark.parametrize("name", ["a b", "50%25", "a%20b", "what?", "x?mode=ro", "#1", "ü&;=+"])
def test_a_sqlite_file_lies_where_its_path_says_whatever_characters_it_has(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "tunelane.db"
    with closing(Database(sqlite_url(path))) as database:
        _write(database, "a")
        assert path.is_file()
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_a_directory_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Choose another place"):
        sqlite_url(tmp_path / "file" / "below" / "tunelane.db")


def test_a_sqlite_file_for_reading_alone_is_the_users_mistake() -> None:
    # Root may write everywhere, so somebody else tries; pytest's own directory is closed to others.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tunelane.db"
        with closing(Database(sqlite_url(path))) as database:
            _read(database)
        path.chmod(0o444)
        Path(directory).chmod(0o555)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(pwd.getpwnam("nobody").pw_uid)
            with pytest.raises(InputError, match="Choose a file that you may write to"):
                _read(Database(f"sqlite:///{path}"))
        finally:
            os.seteuid(user)
            Path(directory).chmod(0o755)


def test_a_newer_releases_tables_are_left_alone(database: Database, database_url: str) -> None:
    with database.transaction() as connection:
        connection.execute(update(schema_version).values(number=2))
    with closing(Database(database_url)) as other, pytest.raises(InputError, match="Upgrade tunelane"):
        _read(other)


def test_a_postgresql_that_takes_no_writes_is_a_database_away(postgres_database_url: str) -> None:
    with closing(Database(postgres_database_url)) as database:
        _write(database, "a")
        # As every transaction on a standby is.
        with pytest.raises(DatabaseAway, match="read-only transaction"), database.transaction() as connection:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            connection.execute(insert(features).values(entity_id="b", features="{}", updated_at=0.0))
        _write(database, "b")


def test_a_sqlite_file_that_is_damaged_is_a_database_away(tmp_path: Path) -> None:
    path = tmp_path / "tunelane.db"
    with closing(Database(sqlite_url(path))) as database:
        _write(database, "a", "text " * 10_000)
    with closing(Database(sqlite_url(path))) as database:
        with database.transaction() as connection:
            root = connection.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'entity_features'")
            page = root.scalar_one()
        with path.open("r+b") as stream:
            stream.seek((page - 1) * 4096)
            stream.write(b"\xff" * 4096)
        database.close()
        with pytest.raises(DatabaseAway, match="malformed"):
            _read(database)


def test_an_error_keeps_what_was_to_be_stored_to_itself(database: Database) -> None:
    _write(database, "a", "a secret text")
    with pytest.raises(IntegrityError) as caught:
        _write(database, "a", "a secret text")
    assert "secret" not in str(caught.value)


def test_closing_does_not_wait_for_an_opening_that_takes_long(tmp_path: Path) -> None:
    path = tmp_path / "tunelane.db"
    with closing(Database(sqlite_url(path))) as database:
        _write(database, "a")
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(2) as threads:
        other.execute("BEGIN IMMEDIATE")
        late = Database(sqlite_url(path))
        opening = threads.submit(_read, late)
        while not late._opening.locked():
            time.sleep(0.001)
        threads.submit(late.close).result(timeout=5)
        assert not opening.done()
        other.execute("ROLLBACK")
        assert opening.result(timeout=20) == {"a": "{}"}
        late.close()
