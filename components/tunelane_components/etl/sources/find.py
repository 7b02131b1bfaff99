"""Finding the files of the data: one file, a folder or a glob; on this machine or at any URI that fsspec knows."""

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tunelane_components.etl.sources.formats import ENDINGS, FORMATS, check_format, format_and_compression
from tunelane_components.storage import filesystem, local_path, missing, one_line
from tunelane_serving.errors import InputError

_WILD = "*?["
_NAMES_SHOWN = 5
# What stores say of an object that tells its content from any other that it had or will have. Cloud Storage: a number
# that every write changes (https://cloud.google.com/storage/docs/metadata#generation-number). S3: the ETag comes back
# with the content, the time does not (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html).
_VERSION_FIELDS = (("generation",), ("ETag", "LastModified"))
_NO_NAME = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class SourceFile(msgspec.Struct, frozen=True):
    """One file of the data.

    Attributes:
        uri: local path, or URI for fsspec; for a transformer the data as the user wrote it.
        name: path below the folder or the glob's fixed part with forward slashes, else the file's own name.
        format: csv, tsv, json, jsonl, parquet, or a transformer's name.
        compression: gz, zst, or empty.
        size_bytes: as it is stored; 0 where it is not known before.
        version: what the store calls this very content; empty where it says nothing of the kind.
    """

    uri: str
    name: str
    format: str
    compression: str
    size_bytes: int
    version: str = ""


class Found(msgspec.Struct, frozen=True):
    """The files to read, sorted by name, and the names of what a folder or a glob holds besides, sorted."""

    files: list[SourceFile]
    ignored: list[str]


class _Entry(msgspec.Struct, frozen=True):
    """A file that was met, before it is known how to read it."""

    uri: str
    name: str
    size_bytes: int
    version: str = ""


def find_sources(data: str, *, source_format: str = "", what: str = "data") -> Found:
    """Find the files that `data` names.

    Args:
        data: a file, a folder (read with the folders in it) or a glob (`**` for folders); a local path or a URI.
        source_format: how to read every file; empty: by its ending. In a folder or a glob, files whose ending says
            another format are passed over. A transformer's name gives one source, `data` itself.
        what: the parameter that gave `data`, for the errors.

    Returns:
        The files to read, and what was passed over: hidden files and folders, linked folders, unknown endings,
        and folders that a glob meets. Folder names end in a slash.

    Raises:
        InputError: nothing is there, nothing there can be read, or the format is unknown.
    """
    if not data.strip():
        raise InputError(f"No {what} was given. Pass --set {what}=PATH or a gs:// URI.")
    if source_format:
        check_format(source_format)
        if source_format not in FORMATS:
            return Found([SourceFile(data, source_format, source_format, "", 0)], [])
    path = local_path(data)
    if path is not None:
        single, entries, ignored = _local_entries(path, data, what)
    else:
        single, entries, ignored = _remote_entries(data, what)
    if single:
        return Found([_single_source(entries[0], source_format)], [])
    return _chosen(entries, ignored, data, source_format, what)


def _single_source(entry: _Entry, source_format: str) -> SourceFile:
    """The one file that was asked for by its name."""
    file_format, compression = format_and_compression(entry.name)
    file_format = source_format or file_format
    if not file_format:
        raise InputError(
            f"{entry.name}: unknown kind of file. Pass one that ends in {ENDINGS}, or --set source_format=…"
        )
    return _source_file(entry, file_format, compression)


def _source_file(entry: _Entry, file_format: str, compression: str) -> SourceFile:
    # Errors, which are one line, and the quarantine, which is UTF-8, say the name.
    if _NO_NAME.search(entry.uri):
        raise InputError(f"The name {entry.uri!a} holds a line break, a control or no UTF-8. Rename the file.")
    return SourceFile(entry.uri, entry.name, file_format, compression, entry.size_bytes, entry.version)


def _written(name: str) -> str:
    """`name` with bytes that are no UTF-8 made visible, for the summary."""
    return name.encode(errors="backslashreplace").decode()


def _chosen(entries: Iterable[_Entry], ignored: list[str], data: str, source_format: str, what: str) -> Found:
    """Those of a folder's or a glob's files that are to be read."""
    files = []
    for entry in entries:
        by_ending, compression = format_and_compression(entry.name)
        file_format = source_format or by_ending
        if not file_format or by_ending not in ("", file_format):
            ignored.append(entry.name)
        else:
            files.append(_source_file(entry, file_format, compression))
    ignored = sorted(map(_written, ignored))
    if not files:
        shown = ", ".join(ignored[:_NAMES_SHOWN]) + (", …" if len(ignored) > _NAMES_SHOWN else "")
        raise InputError(
            f"{data} holds no file to read{f' (only {shown})' if shown else ''}. "
            f"Pass --set {what}=… with files that end in {ENDINGS}, or --set source_format=…"
        )
    return Found(sorted(files, key=lambda file: file.name), ignored)


def _local_entries(path: Path, data: str, what: str) -> tuple[bool, list[_Entry], list[str]]:
    """Whether `data` is one file, the files, and the names of what is no file to read."""
    try:
        if path.is_dir():
            return (False, *_walked(path))
        if path.exists():
            return True, [_local_entry(path, path.name)], []
        if not _is_wild(data):
            raise missing(data, what)
        return (False, *_globbed(str(path)))
    except OSError as error:
        raise InputError(f"Cannot read {error.filename or data}: {one_line(error)}.") from error


def _local_entry(path: Path, name: str) -> _Entry:
    return _Entry(str(path), name, path.stat().st_size)


def _walked(root: Path) -> tuple[list[_Entry], list[str]]:
    """The files in and below `root`; apart what is hidden, linked folders, and what is no regular file."""
    entries: list[_Entry] = []
    ignored: list[str] = []

    def stop(error: OSError) -> None:
        # A folder that may not be opened would be rows lost in silence.
        raise error

    for folder, folders, names in os.walk(root, onerror=stop):
        here = Path(folder)
        # Links to folders may lead in a circle.
        for name in [name for name in folders if name.startswith(".") or (here / name).is_symlink()]:
            folders.remove(name)
            ignored.append((here / name).relative_to(root).as_posix() + "/")
        for name in names:
            path = here / name
            relative = path.relative_to(root).as_posix()
            # A link to nothing is a file that is missing, and is said to be. A pipe would be waited for.
            if name.startswith(".") or (path.exists() and not path.is_file()):
                ignored.append(relative)
            else:
                entries.append(_local_entry(path, relative))
    return entries, ignored


def _globbed(pattern: str) -> tuple[list[_Entry], list[str]]:
    """The files that match, and the folders that match."""
    root = _fixed_part(pattern)
    entries: list[_Entry] = []
    ignored: list[str] = []
    for match in glob.glob(pattern, recursive=True):  # noqa: PTH207  it passes over hidden files
        name = match[len(root) :].rstrip("/")
        if Path(match).is_dir():
            if name:
                ignored.append(f"{name}/")
        else:
            entries.append(_local_entry(Path(match), name))
    return entries, ignored


def _remote_entries(data: str, what: str) -> tuple[bool, list[_Entry], list[str]]:
    """As `_local_entries`, through fsspec."""
    file_system, path = filesystem(data, what=what)
    # What this process listed before says nothing of what others wrote since.
    file_system.invalidate_cache()
    try:
        if file_system.isfile(path):
            info = file_system.info(path)
            return True, [_remote_entry(data, path.rpartition("/")[2], info)], []
        wild = _is_wild(path)
        infos = file_system.glob(path, detail=True) if wild else file_system.find(path, detail=True)
        root = _fixed_part(path) if wild else path.rstrip("/") + "/"
        if not infos and not wild:
            raise missing(data, what)
        return (False, *_remote_sorted(file_system, infos, root))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise missing(data, what) from error
    except Exception as error:
        # Every fsspec implementation has its own errors; each means that this input cannot be read.
        raise InputError(f"Cannot read {what} {data}: {one_line(error)}") from error


def _remote_entry(uri: str, name: str, info: dict[str, Any]) -> _Entry:
    fields = next((fields for fields in _VERSION_FIELDS if all(info.get(field) for field in fields)), ())
    return _Entry(uri, name, info.get("size") or 0, " ".join(str(info[field]) for field in fields))


def _remote_sorted(file_system: Any, infos: dict[str, dict[str, Any]], root: str) -> tuple[list[_Entry], list[str]]:
    """The files, and the names of folders and hidden files."""
    entries: list[_Entry] = []
    ignored: list[str] = []
    for path, info in infos.items():
        name = path.removeprefix(root)
        if info.get("type") == "directory":
            ignored.append(f"{name.rstrip('/')}/")
        elif path.endswith("/"):
            # Object stores mark an empty folder by an object whose name ends in a slash.
            continue
        elif any(part.startswith(".") for part in name.split("/")):
            ignored.append(name)
        else:
            entries.append(_remote_entry(file_system.unstrip_protocol(path), name, info))
    return entries, ignored


def _is_wild(path: str) -> bool:
    return any(character in path for character in _WILD)


def _fixed_part(pattern: str) -> str:
    """The folder that every match of a glob stands in, with its slash; empty where there is none."""
    first = min(pattern.find(character) for character in _WILD if character in pattern)
    return pattern[: pattern.rfind("/", 0, first) + 1]
