"""Inputs by URI: a local path as it is, anything remote through fsspec, downloaded or read as a stream."""

import logging
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tunelane_components.bucket import SCHEME, is_bucket_name
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically, home_expanded

_SCHEME_MARK = "://"


def local_copy(uri: str, scratch: Path, *, what: str) -> Path:
    """Give the file or directory at `uri` as a local path.

    Args:
        uri: a local path, `file://…`, or a URI of any scheme that fsspec knows (`gs://bucket/rows.csv`).
        scratch: where something remote is downloaded to, under its own name; untouched for what is local.
        what: the parameter that gave the URI, for the error ("data", "base_model").

    Returns:
        The path as it is for something local, the path of the download otherwise.

    Raises:
        InputError: there is nothing at `uri`, or it cannot be read.
    """
    if not uri.strip():
        raise InputError(f"No {what} was given. Pass --set {what}=PATH or a gs:// URI.")
    path = local_path(uri)
    if path is None:
        name = PurePosixPath(urlsplit(uri).path).name or urlsplit(uri).netloc
        path = scratch / name
        download(uri, path, what=what)
    elif not path.exists():
        raise missing(uri, what)
    return path


def local_path(uri: str) -> Path | None:
    """Give the local path that `uri` is, or None where it is remote."""
    if uri.startswith("file://"):
        return Path(url2pathname(urlsplit(uri).path))
    return None if _SCHEME_MARK in uri else home_expanded(Path(uri))


def filesystem(uri: str, *, what: str) -> tuple[Any, str]:
    """Give the fsspec file system of a remote `uri`, and its path there.

    Raises:
        InputError: the scheme is unknown, or its package is not installed; or no bucket can be called so.
    """
    bucket = uri.removeprefix(SCHEME).partition("/")[0]
    if uri.startswith(SCHEME) and not is_bucket_name(bucket):
        # gcsfs would look for it for minutes.
        raise InputError(f"Cannot read {what} {uri}: {bucket!r} is no name of a bucket. Pass gs://BUCKET/PATH.")
    # gcsfs' experimental probe of zonal buckets waits minutes without credentials; it is read at import.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # What gcsfs gives up it logs with a traceback, and raises as well; callers put it into one line.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    import fsspec

    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(uri))
    except (ValueError, ImportError) as error:
        raise InputError(f"Cannot read {what} {uri}: {one_line(error)}. Use a local path or a gs:// URI.") from error


def open_binary(uri: str, *, what: str) -> BinaryIO:
    """Open the file at `uri`, a local path or remote, to read its bytes.

    Raises:
        InputError: there is no such file, its scheme is unknown, or it cannot be opened.
    """
    path = local_path(uri)
    try:
        if path is not None:
            return path.open("rb")
        file_system, remote_path = filesystem(uri, what=what)
        return cast(BinaryIO, file_system.open(remote_path, "rb"))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise missing(uri, what) from error
    except Exception as error:
        raise InputError(f"Cannot read {what} {uri}: {one_line(error)}") from error


def download(uri: str, target: Path, *, what: str) -> None:
    """Download the file or the directory at the remote `uri` to `target`, whole or not at all; replaces `target`.

    Raises:
        InputError: there is nothing at `uri`, its scheme is unknown, or it cannot be read.
    """
    file_system, path = filesystem(uri, what=what)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if file_system.isfile(path):
            _download_file(file_system, path, target)
        else:
            _download_directory(file_system, path, uri, target, what)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise missing(uri, what) from error
    except Exception as error:
        # Every fsspec implementation has its own errors; each means that this input cannot be read.
        raise InputError(f"Cannot read {what} {uri}: {one_line(error)}") from error


def _download_file(file_system: Any, path: str, target: Path) -> None:
    """Download one file beside `target`, then rename."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        partial = Path(folder) / target.name
        file_system.get_file(path, str(partial))
        partial.replace(target)


def _download_directory(file_system: Any, path: str, uri: str, target: Path, what: str) -> None:
    """Download every file under `path`, keeping the paths below it."""
    root = PurePosixPath(path)
    # Object stores mark an empty folder by an object whose name ends in a slash.
    names = [name for name in file_system.find(path) if not name.endswith("/")]
    if not names:
        raise missing(uri, what)
    with directory_written_atomically(target) as folder:
        for name in names:
            relative = PurePosixPath(name).relative_to(root)
            # An object's name may hold "..", which must not leave the target.
            if ".." in relative.parts:
                raise InputError(f"Cannot read {what} {uri}: the name {name!r} leaves the directory")
            file = folder / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            file_system.get_file(name, str(file))


def missing(uri: str, what: str) -> InputError:
    """The error for a `uri` at which there is nothing; `what` is the parameter that gave it."""
    return InputError(f"No such file or directory: {uri}. Pass --set {what}=PATH or a gs:// URI that exists.")


def one_line(error: Exception) -> str:
    """An error's text on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
