"""Files are written whole or not at all."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving.files import (
    directory_written_atomically,
    link_or_copy,
    locked,
    locked_if_free,
    sha256_bytes,
    sha256_file,
    write_atomically,
)


class Interrupted(BaseException):
    """Like KeyboardInterrupt: not an Exception."""


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
