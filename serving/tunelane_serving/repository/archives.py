"""Unpacking an uploaded package: an archive from anybody, of which nothing is believed."""

import errno
import re
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tunelane_serving.errors import ContractError
from tunelane_serving.files import directory_written_atomically
from tunelane_serving.package import MANIFEST, verify
from tunelane_serving.problems import BadPackage
from tunelane_serving.repository.members import Member
from tunelane_serving.repository.tar_reader import BLOCK_BYTES, GZIP_MAGIC, Gunzip, looks_like_tar, tar_members
from tunelane_serving.repository.zip_reader import ENTRY_MAGIC, zip_members

# It is read into memory.
_MAX_MANIFEST_BYTES = 16 << 20
_MAX_MESSAGE_CHARS = 300
# Weights hardly compress: what grows a hundredfold and is large is a bomb. Small files may be all zeros.
_MAX_GROWTH = 100
_MAX_GROWN_BYTES = 32 << 20
# The longest name of a file that Linux' file systems take.
_MAX_PART_BYTES = 255
# What the file system says of a name that it does not take.
_NO_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.EILSEQ, errno.EINVAL)
_DRIVE = re.compile("[A-Za-z]:")


def unpack(archive: Path, target: Path, *, max_unpacked_bytes: int, max_files: int) -> None:
    """Unpack a package from a tar, tar.gz or zip archive, which its content says it is, and verify it.

    The package may stand in one folder of the archive. Written is a directory beside `target`, which becomes `target`
    once it holds what its manifest says, and nothing else.

    Args:
        archive: a file.
        target: where the package will be.
        max_unpacked_bytes: what its files may have together, as counted while they are unpacked.
        max_files: how many files it may have, and how many directories.

    Raises:
        BadPackage: it is no archive, too large, damaged, holds anything that no package has, or is not the package that
            its manifest describes. There is no `target` then, nor anything else that was not there before.
    """
    with directory_written_atomically(target) as scratch:
        try:
            with archive.open("rb") as stream:
                _write(
                    _members(stream),
                    scratch,
                    max_bytes=max_unpacked_bytes,
                    max_files=max_files,
                    archive_bytes=archive.stat().st_size,
                )
            _unwrap(scratch)
            verify(scratch)
        except (BadPackage, ContractError) as error:
            said = str(error).replace(f"{scratch}/", "").replace(str(scratch), "The archive")
            raise BadPackage(_one_line(said)) from error
        except OSError as error:
            if error.errno not in _NO_NAME:
                raise
            raise BadPackage(f"The package has a name that no file can have here: {error.strerror}") from error


def _members(stream: BinaryIO) -> Iterator[Member]:
    start = stream.read(BLOCK_BYTES)
    stream.seek(0)
    if start.startswith(GZIP_MAGIC):
        return tar_members(Gunzip(stream))
    if start.startswith(ENTRY_MAGIC):
        return zip_members(stream)
    if looks_like_tar(start):
        return tar_members(stream)
    raise BadPackage("The file is no tar, tar.gz or zip archive; pack the package's directory as one of these")


def _write(members: Iterator[Member], root: Path, *, max_bytes: int, max_files: int, archive_bytes: int) -> None:
    names = _Names(max_files)
    written_bytes = 0
    for member in members:
        name = names.add(member)
        path = root / name
        if member.is_directory:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        file_bytes = 0
        # Made here or not at all: nothing that is there is written through.
        with path.open("xb") as target:
            for chunk in member.chunks:
                file_bytes += len(chunk)
                written_bytes += len(chunk)
                if written_bytes > max_bytes:
                    raise BadPackage(f"The package has more than {max_bytes} bytes unpacked")
                if written_bytes > max(_MAX_GROWN_BYTES, _MAX_GROWTH * archive_bytes):
                    raise BadPackage(f"The archive grows more than {_MAX_GROWTH}-fold when it is unpacked")
                if path.name == MANIFEST and file_bytes > _MAX_MANIFEST_BYTES:
                    raise BadPackage(f"{name}: more than {_MAX_MANIFEST_BYTES} bytes")
                target.write(chunk)


class _Names:
    """The names seen so far. What some file system would take for one name may stand in an archive once."""

    def __init__(self, max_files: int) -> None:
        self._max_files = max_files
        self._files: dict[str, str] = {}
        # Those that stand in the archive, and those that are there for what is in them.
        self._listed: set[str] = set()
        self._directories: dict[str, str] = {}

    def add(self, member: Member) -> str:
        """Check a member's name; give it without "./" and the slash at a directory's end.

        Raises:
            BadPackage: it does not stay inside, is no plain name, stands there already, or is one too many.
        """
        parts = _checked_parts(member)
        paths = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        name = paths[-1] if paths else ""
        if name in self._listed:
            raise BadPackage(f"The archive has {name!r} twice")
        self._listed.add(name)
        for path in paths:
            self._keep(path, is_file=path == name and not member.is_directory)
        if max(len(self._files), len(self._directories)) > self._max_files:
            raise BadPackage(f"The package has more than {self._max_files} files or directories")
        return name

    def _keep(self, path: str, *, is_file: bool) -> None:
        key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
        kept, others = (self._files, self._directories) if is_file else (self._directories, self._files)
        other = others.get(key) or kept.setdefault(key, path)
        if other != path or key in others:
            raise BadPackage(f"The archive has {other!r} and {path!r}, which may be one name")


def _checked_parts(member: Member) -> list[str]:
    """Split a name at its slashes; nothing is left of the archive's own root.

    Raises:
        BadPackage: it could mean another place than it says, here or on another system.
    """
    name = member.name
    if "\\" in name or name.startswith("/") or _DRIVE.match(name) or not name.isprintable():
        raise BadPackage(f"The archive's {name!r} is no relative path with plain slashes")
    inner = name.removesuffix("/") if member.is_directory else name
    parts = inner.split("/")
    if parts[0] == "." and (len(parts) > 1 or member.is_directory):
        del parts[0]
    if any(part in ("", ".", "..") or len(part.encode()) > _MAX_PART_BYTES for part in parts):
        raise BadPackage(f"The archive's {name!r} does not name a file below it")
    return parts


def _unwrap(root: Path) -> None:
    """Where all stands in one folder, put what is in it in its place."""
    there = list(root.iterdir())
    if len(there) != 1 or not (there[0] / MANIFEST).is_file():
        return
    # Out of the way of a namesake in it.
    folder = there[0].rename(root / uuid.uuid4().hex)
    for path in folder.iterdir():
        path.rename(root / path.name)
    folder.rmdir()


def _one_line(message: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in message)
    return printable if len(printable) <= _MAX_MESSAGE_CHARS else f"{printable[:_MAX_MESSAGE_CHARS]}…"
