"""Files are written whole or not at all."""

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving import files
from tunelane_serving.files import (
    directory_written_atomically,
    link_or_copy,
    locked,
    locked_if_free,
    sha256_bytes,
    sha256_file,
    write_atomically,
)

# Writes generation after generation of one directory: three files and their digests.
WRITER = """
import hashlib, json, sys
from pathlib import Path
from tunelane_serving.files import directory_written_atomically

def write(target, generation):
    with directory_written_atomically(target) as scratch:
        digests = {}
        for name in ("one", "two", "deep/three"):
            content = f"{generation} {name}".encode() * 500
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / name).write_bytes(content)
            digests[name] = hashlib.sha256(content).hexdigest()
        (scratch / "digests.json").write_text(json.dumps({"generation": generation, "files": digests}))
"""
WRITE_ON_AND_ON = """
write(Path(sys.argv[1]), first := int(sys.argv[2]))
print("started", flush=True)
while True:
    write(Path(sys.argv[1]), first := first + 1)
"""
# Children die at the first, the second, the third … line that they run of the code under test, until one lives.
DIE_AT_EVERY_LINE = """
import os, shutil, signal, tempfile
from tunelane_serving import files

def child(target, generation, last_line):
    lines = 0
    def trace(frame, event, _):
        nonlocal lines
        if frame.f_code.co_filename not in (files.__file__, shutil.__file__, tempfile.__file__):
            return None
        if event == "line":
            lines += 1
            if lines == last_line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    write(target, generation)
    os._exit(0)

target = Path(sys.argv[1])
write(target, 0)
for last_line in range(1, 10_000):
    # Even generations are written whole by the parent, odd ones by a child that is killed.
    old, new = 2 * last_line, 2 * last_line + 1
    write(target, old)
    assert [path.name for path in target.parent.iterdir()] == [target.name], "a leftover stayed"
    if not (pid := os.fork()):
        child(target, new, last_line)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    found = json.loads((target / "digests.json").read_text())
    assert found["generation"] in (old, new), found
    for name, digest in found["files"].items():
        assert hashlib.sha256((target / name).read_bytes()).hexdigest() == digest, (last_line, name)
    if not killed:
        print(last_line)
        break
"""


class Interrupted(BaseException):
    """Like KeyboardInterrupt: not an Exception."""


def generation_of(target: Path) -> int:
    """Check every file of what the writer wrote, and say which generation it is."""
    found = json.loads((target / "digests.json").read_text())
    assert {path.name for path in target.rglob("*")} == {"one", "two", "deep", "three", "digests.json"}
    for name, digest in found["files"].items():
        assert hashlib.sha256((target / name).read_bytes()).hexdigest() == digest
    return int(found["generation"])


def refuse_exchange(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "_exchange", refuse)


def test_a_file_is_written_with_its_folders_and_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_written_file_is_as_readable_as_any_other(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_writing_a_file_opens_what_others_write_meanwhile_to_nobody(tmp_path, monkeypatch):
    """The umask is the process's: whoever changes it even for a moment changes it for all threads."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was changed"))
    write_atomically(tmp_path / "file", b"")


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(fails, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_arguments: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        if fails == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(Path, "replace", fail)
        with pytest.raises(Interrupted):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_appears_whole(tmp_path):
    target = tmp_path / "deep" / "target"
    with directory_written_atomically(target) as scratch:
        (scratch / "file").write_bytes(b"x")
        assert not target.exists()
        assert scratch.parent == target.parent
    assert (target / "file").read_bytes() == b"x"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, Interrupted])
@pytest.mark.parametrize("old", [None, "directory", "file"])
def test_a_block_that_fails_leaves_what_was_there_and_nothing_else(error, old, tmp_path):
    target = tmp_path / "target"
    if old == "directory":
        target.mkdir()
        (target / "old").write_bytes(b"old")
    elif old == "file":
        target.write_bytes(b"old")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error), directory_written_atomically(target) as scratch:
        (scratch / "half").mkdir()
        (scratch / "half" / "file").write_bytes(b"x")
        raise error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("old", ["empty directory", "full directory", "file"])
def test_what_stood_there_is_replaced(old, tmp_path):
    target = tmp_path / "target"
    if old == "file":
        target.write_bytes(b"old")
    else:
        target.mkdir()
    if old == "full directory":
        (target / "old").write_bytes(b"old")
    with directory_written_atomically(target) as scratch:
        (scratch / "new").write_bytes(b"new")
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "new"]


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"kept")
    for name, leads_to in (("link", elsewhere), ("broken", tmp_path / "missing")):
        target = tmp_path / name
        target.symlink_to(leads_to)
        with directory_written_atomically(target) as scratch:
            (scratch / "new").write_bytes(b"new")
        assert not target.is_symlink() and (target / "new").read_bytes() == b"new"
    assert (elsewhere / "file").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "elsewhere", "link"]


def test_a_written_directory_is_as_readable_as_any_other(tmp_path):
    with directory_written_atomically(tmp_path / "target"):
        pass
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o755


def test_the_old_directory_stands_until_the_new_one_does(tmp_path):
    """There is no moment without a target: whatever a writer does, another process finds a whole directory."""
    target = tmp_path / "target"
    with directory_written_atomically(target) as scratch:
        (scratch / "file").write_bytes(b"x")
    missing = 0
    done = threading.Event()

    def look() -> None:
        nonlocal missing
        while not done.is_set():
            missing += not (target / "file").exists()

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(100):
        with directory_written_atomically(target) as scratch:
            (scratch / "file").write_bytes(b"x")
    done.set()
    reader.join()
    assert missing == 0


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM])
@pytest.mark.parametrize("old", ["full directory", "file"])
def test_where_nothing_can_be_exchanged_the_target_is_replaced_all_the_same(code, old, tmp_path, monkeypatch):
    refuse_exchange(monkeypatch, code)
    test_what_stood_there_is_replaced(old, tmp_path)


def test_an_exchange_that_fails_leaves_the_old_directory(tmp_path, monkeypatch):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_bytes(b"old")
    refuse_exchange(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"), directory_written_atomically(target) as scratch:
        (scratch / "new").write_bytes(b"new")
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "old"]


def test_without_an_exchange_the_old_directory_outlives_a_kill_between_the_renames(tmp_path, monkeypatch):
    refuse_exchange(monkeypatch, errno.EINVAL)
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_bytes(b"old")
    with directory_written_atomically(target) as scratch:
        (scratch / "new").write_bytes(b"new")
        rename, seen = Path.rename, []

        def rename_and_look(path: Path, goal: Path) -> Path:
            result = rename(path, goal)
            if not target.exists():
                files.remove_leftovers(target)
                seen.extend(each.name for each in tmp_path.glob(".target.*.partial.old/*"))
            return result

        monkeypatch.setattr(Path, "rename", rename_and_look)
    assert seen == ["old"]
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "new"]


def test_a_c_library_without_the_call_says_that_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_arguments, **_options: object())
    with pytest.raises(OSError) as caught:
        files._exchange(tmp_path / "one", tmp_path / "other")
    assert caught.value.errno == errno.ENOSYS


def test_only_leftovers_of_that_target_are_removed(tmp_path):
    leftovers = [tmp_path / ".target.abcd_123.partial", tmp_path / ".target.file_123.partial"]
    leftovers[0].mkdir()
    (leftovers[0] / "file").write_bytes(b"gigabytes")
    leftovers[1].write_bytes(b"a file that stood at the target")
    others = [
        ".target.original",
        ".target.lock",
        ".target.x.abcd_123.partial",
        ".other.abcd_123.partial",
        ".target.abcd_123.partial.old",
        "target.abcd_123.partial",
        ".[t]arget.abcd_123.partial",
    ]
    for name in others:
        (tmp_path / name).mkdir()
    with directory_written_atomically(tmp_path / "target"):
        assert not any(map(os.path.lexists, leftovers))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "target"])
    with directory_written_atomically(tmp_path / "[t]arget"):
        assert not (tmp_path / ".[t]arget.abcd_123.partial").exists()


def test_a_directory_that_is_being_written_is_no_leftover(tmp_path):
    target = tmp_path / "target"
    with directory_written_atomically(target) as slow:
        (slow / "file").write_bytes(b"slow")
        with directory_written_atomically(target) as quick:
            (quick / "file").write_bytes(b"quick")
        assert (target / "file").read_bytes() == b"quick"
        assert (slow / "file").read_bytes() == b"slow"
    assert (target / "file").read_bytes() == b"slow"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_a_new_directory_that_was_taken_for_a_leftover_is_made_again(moment, tmp_path, monkeypatch):
    module, name = (files.os, "open") if moment == "before it is opened" else (files.fcntl, "flock")
    call, lost = getattr(module, name), []

    def lose(*arguments: object) -> object:
        scratches = list(tmp_path.glob(".target.*"))
        if not lost and scratches:
            lost.extend(scratches)
            scratches[0].rmdir()
        return call(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, lose)
        with directory_written_atomically(tmp_path / "target") as scratch:
            assert len(lost) == 1 and scratch not in lost
            (scratch / "file").write_bytes(b"x")
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "file"]


def test_writers_of_one_target_at_the_same_time_leave_one_of_them_whole(tmp_path):
    """Six threads, and leftovers looked for at each of their calls."""
    target = tmp_path / "target"

    def write(writer: int) -> None:
        for number in range(40):
            with directory_written_atomically(target) as scratch:
                for name in "ab":
                    (scratch / name).write_text(f"{writer} {number}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert (target / "a").read_text() == (target / "b").read_text() != ""
    assert list(tmp_path.iterdir()) == [target]


def test_without_locks_on_directories_nothing_is_taken_for_a_leftover(tmp_path, monkeypatch):
    leftover = tmp_path / ".target.abcd_123.partial"
    leftover.mkdir()

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with directory_written_atomically(tmp_path / "target") as scratch:
        (scratch / "file").write_bytes(b"x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [leftover.name, "file", "target"]


def test_a_kill_at_any_line_leaves_the_old_directory_or_the_new_one_and_no_leftover_after_the_next(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WRITER + DIE_AT_EVERY_LINE, str(tmp_path / "folder" / "target")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.parametrize("kills", [5, pytest.param(150, marks=pytest.mark.slow)])
def test_a_kill_at_a_random_moment_leaves_a_whole_directory_and_no_leftover_after_the_next(kills, tmp_path):
    target = tmp_path / "target"
    moments = random.Random(4)  # noqa: S311 - not a secret
    for number in range(kills):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER + WRITE_ON_AND_ON, str(target), str(1_000_000 * number)],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None and writer.stdout.readline() == b"started\n"
        # Its first call has removed what the killed one before it left; its own scratch may be there.
        assert len(list(tmp_path.iterdir())) <= 2
        time.sleep(moments.uniform(0, 0.03))
        writer.kill()
        writer.communicate()
        assert writer.returncode == -signal.SIGKILL
        assert generation_of(target) >= 1_000_000 * number
    with directory_written_atomically(target):
        pass
    assert list(tmp_path.iterdir()) == [target]


@given(st.binary(max_size=100))
def test_a_file_and_its_content_have_one_digest(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(content)
    assert sha256_file(path) == sha256_bytes(content) == hashlib.sha256(content).hexdigest()


def test_a_file_larger_than_a_chunk_has_the_same_digest(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_link_shares_the_content_and_survives_the_source(tmp_path):
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_bytes(b"x")
    link_or_copy(source, target)
    assert target.stat().st_ino == source.stat().st_ino
    source.unlink()
    assert target.read_bytes() == b"x"


def test_where_links_are_refused_the_file_is_copied(tmp_path, monkeypatch):
    def refuse(*_arguments: object) -> None:
        raise OSError("links are not supported here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "source").write_bytes(b"x")
    link_or_copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"x"
    assert (tmp_path / "target").stat().st_nlink == 1


def test_a_lock_is_had_only_where_nobody_holds_it(tmp_path):
    path = tmp_path / "lock"
    with locked(path), locked_if_free(path) as is_free:
        assert not is_free
    with locked_if_free(path) as is_free:
        assert is_free
        with locked_if_free(path) as is_free_again:
            assert not is_free_again
    with locked_if_free(path) as is_free:
        assert is_free


@pytest.mark.parametrize("name", ["missing", "nowhere/missing", "file/missing", "directory"])
def test_without_a_file_there_is_no_lock_and_none_is_made(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with locked_if_free(tmp_path / name) as is_free:
        assert not is_free
    assert sorted(tmp_path.rglob("*")) == before


def test_the_kernel_frees_the_lock_of_a_process_that_was_killed(tmp_path):
    path = tmp_path / "lock"
    script = (
        "import sys, time; from pathlib import Path; from tunelane_serving.files import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with locked_if_free(path) as is_free:
            assert not is_free
    finally:
        holder.kill()
        holder.communicate()
    with locked_if_free(path) as is_free:
        assert is_free
