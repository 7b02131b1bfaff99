"""A finished dataset put under a root, once for each digest: `<root>/training-data/<timestamp>-<digest>/`."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tunelane_components.etl.dataset import SUMMARY
from tunelane_components.storage import filesystem, local_path
from tunelane_serving.contract import decode, read
from tunelane_serving.errors import ContractError, InputError, TunelaneError
from tunelane_serving.files import directory_written_atomically

_FOLDER = "training-data"
_DIGEST_CHARACTERS = 12


class _Content(msgspec.Struct, frozen=True):
    """What of dataset.json tells one upload from another; the rest may differ from release to release."""

    digest: str
    files: dict[str, str]


def upload_dataset(
    dataset: Path, root: str, *, now: datetime | None = None, progress: Callable[[str], None] | None = None
) -> str:
    """Put the dataset directory `dataset` under `root`, unless it is there already.

    It goes to `<root>/training-data/<timestamp>-<digest>/`: a timestamp like 20261121T104455Z, and the first 12
    characters of the dataset's digest. Where a complete upload has the same digest, and the same digest of each file
    that dataset.json names, nothing is sent.

    An upload is complete when its dataset.json is there. A local root gets the directory in one step. Object stores
    cannot rename folders, so there dataset.json goes last, after every other file has arrived in its size. An upload
    that was cut short is never taken for complete and is left alone; the next one goes to a folder of its own. Two
    uploads of one dataset at the same time are both complete.

    Args:
        dataset: a directory with dataset.json; every file below it is sent.
        root: a local directory, made where it is missing, or a URI of any scheme that fsspec knows (`gs://bucket/path`).
        now: the time in the name; None: the time that it is.
        progress: told in one line of each file before it is sent.

    Returns:
        Where the dataset is: a path for a local root, else a URI.

    Raises:
        ContractError: `dataset` has no sound dataset.json, or lacks a file that it names.
        InputError: `root` has an unknown scheme, is no bucket that exists, or cannot be written.
        TunelaneError: a file did not arrive whole.
    """
    if not root.strip():
        raise InputError("No upload_root was given. Pass --set upload_root=PATH or a gs:// URI.")
    content = read(dataset / SUMMARY, _Content)
    sizes_bytes = _sizes_bytes(dataset, content)
    local = local_path(root)
    if local is not None and local.resolve().is_relative_to(dataset.resolve()):
        raise InputError(f"Cannot upload {dataset} to {root}, which lies in it. Choose another upload_root.")
    if local is None:
        file_system, path = filesystem(root, what="upload_root")
    else:
        import fsspec

        file_system = fsspec.filesystem("file", auto_mkdir=True)
        root = path = str(local.absolute())
    folder, path = f"{root.rstrip('/')}/{_FOLDER}", f"{path.rstrip('/')}/{_FOLDER}"
    say = progress or (lambda _: None)
    try:
        names = _names(file_system, path)
        earlier = _earlier(file_system, path, names, content)
        if earlier:
            say(f"{folder}/{earlier} holds this dataset already")
            return f"{folder}/{earlier}"
        name = _new_name(content.digest, now or datetime.now(UTC), names)
        target = f"{path}/{name}"
        if local is None:
            _send(file_system, dataset, sizes_bytes, target, say)
        else:
            with directory_written_atomically(Path(target)) as directory:
                _send(file_system, dataset, sizes_bytes, str(directory), say)
    except TunelaneError:
        raise
    except Exception as error:
        # Every fsspec implementation has its own errors; each means that nothing can be put there.
        raise InputError(
            f"Cannot upload to {root}: {_why(error)}. Check that it exists and that you may write there."
        ) from error
    return f"{folder}/{name}"


def _names(file_system: Any, path: str) -> list[str]:
    """Names of what is in the folder of uploads, in order of time."""
    # What this process listed before says nothing of what others uploaded since.
    file_system.invalidate_cache()
    try:
        return sorted(name.rstrip("/").rpartition("/")[2] for name in file_system.ls(path, detail=False))
    except FileNotFoundError:
        return []


def _earlier(file_system: Any, path: str, names: list[str], content: _Content) -> str | None:
    """Name of the first complete upload of `content`."""
    for name in names:
        if name.endswith(_suffix(content.digest)):
            try:
                found = decode(file_system.cat_file(f"{path}/{name}/{SUMMARY}"), _Content, name)
            except (FileNotFoundError, ContractError):
                continue  # cut short
            if found == content:
                return name
    return None


def _new_name(digest: str, moment: datetime, names: list[str]) -> str:
    """Timestamp and digest; a second later where that name is taken, as by an upload that was cut short."""
    while (name := f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}{_suffix(digest)}") in names:
        moment += timedelta(seconds=1)
    return name


def _suffix(digest: str) -> str:
    return f"-{digest[:_DIGEST_CHARACTERS]}"


def _sizes_bytes(dataset: Path, content: _Content) -> dict[str, int]:
    """Size of every file of the dataset by its path in it, dataset.json last."""
    files = sorted(path for path in dataset.rglob("*") if path.is_file())
    sizes_bytes = {path.relative_to(dataset).as_posix(): path.stat().st_size for path in files}
    for name in sorted(content.files):
        if name not in sizes_bytes:
            raise ContractError(f"{dataset}: {name} is missing, which {SUMMARY} names. Build the dataset again.")
    sizes_bytes[SUMMARY] = sizes_bytes.pop(SUMMARY)
    return sizes_bytes


def _send(
    file_system: Any, dataset: Path, sizes_bytes: dict[str, int], target: str, say: Callable[[str], None]
) -> None:
    """Send every file in order, and stop at the first that does not arrive in its size."""
    for number, (name, size_bytes) in enumerate(sizes_bytes.items(), start=1):
        say(f"Uploading {name}, {size_bytes / 1e6:.1f} MB ({number} of {len(sizes_bytes)})")
        file_system.put_file(str(dataset / name), f"{target}/{name}")
        # Asked of the store, not of what the client remembers.
        file_system.invalidate_cache()
        arrived_bytes = file_system.size(f"{target}/{name}")
        if arrived_bytes != size_bytes:
            raise TunelaneError(f"{target}/{name}: {arrived_bytes} of {size_bytes} bytes arrived. Upload again.")


def _why(error: Exception) -> str:
    """Say in words of one line why a file system refused."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, FileNotFoundError):
        return "no such bucket or folder"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
