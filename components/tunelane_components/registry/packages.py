"""Model packages put where they are kept: verified, whole, and as hard links where the file system allows them."""

from pathlib import Path

from tunelane_serving.errors import ContractError
from tunelane_serving.files import directory_written_atomically, link_or_copy
from tunelane_serving.package import MANIFEST, verify


def put_package(source: Path, target: Path, digest: str) -> None:
    """Put the package at `source` at `target`, whole or not at all; one that stands there intact is left alone.

    Two callers with the same target must take turns.

    Raises:
        ContractError: `source` is not a whole package.
        DigestMismatch: it is not the one that `digest` names, or a file was changed.
    """
    manifest = verify(source, expected_digest=digest)
    if _is_intact(target, digest):
        return
    with directory_written_atomically(target) as scratch:
        for path in (MANIFEST, *(file.path for file in manifest.files)):
            link_or_copy(source / path, scratch / path)


def _is_intact(target: Path, digest: str) -> bool:
    try:
        verify(target, expected_digest=digest)
    except ContractError:
        return False
    return True
