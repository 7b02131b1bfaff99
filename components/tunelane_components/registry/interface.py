"""What a registry must do. It alone decides who is champion."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tunelane_serving.errors import InputError, TunelaneError

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ChampionMoved(TunelaneError):
    """The champion is no longer the one that this run was compared with; nothing was changed."""


@dataclass(frozen=True)
class ModelVersion:
    """A registered package: model name, registry version, package digest and taxonomy digest."""

    name: str
    version: str
    digest: str
    taxonomy_digest: str


@dataclass(frozen=True)
class RegisteredVersion:
    """A version as the registry lists it.

    `digest` is empty where another tool registered it. `package` is where the package lies, a path or a gs:// URI.
    `tags` are all that it has.
    """

    name: str
    version: str
    digest: str
    registered_at: datetime
    is_champion: bool
    package: str
    tags: Mapping[str, str]


class Registry(Protocol):
    """Model versions by name, with one champion a name."""

    def names(self) -> list[str]:
        """The models by name, sorted; none where there is no registry yet. Passes over names that are none here."""
        ...

    def versions(self, name: str) -> list[RegisteredVersion]:
        """The versions of `name`, the newest first; none where there is no such model."""
        ...

    def register_candidate(self, name: str, package: Path, tags: Mapping[str, str]) -> ModelVersion:
        """Store a verified package as a new version of `name`; the same digest again gives the version it has."""
        ...

    def champion(self, name: str) -> ModelVersion | None:
        """Give the champion of `name`, or None."""
        ...

    def succession(self, name: str) -> list[str]:
        """Versions of `name` that a rollback can go through, oldest first; the last one is champion, if there is one.

        Whoever becomes champion is added. Moving back to a version that stands in it takes away those after it: what
        was taken back is never the previous champion again.
        """
        ...

    def move_champion(self, name: str, *, expected: str | None, to: str | None) -> None:
        """Make version `to` champion if version `expected` still is, in one step; None stands for nobody.

        Raises:
            InputError: `name` has no version `to`.
            ChampionMoved: another run was faster.
        """
        ...

    def fetch(self, name: str, digest: str, target: Path) -> ModelVersion:
        """Put the package of that digest at `target`, verified.

        Raises:
            InputError: `name` has no such version.
            DigestMismatch: what is stored is not what was registered.
        """
        ...


def is_model_name(name: str) -> bool:
    """Whether a registry and a directory can carry the name."""
    return _MODEL_NAME.fullmatch(name) is not None


def require_model_name(name: str) -> None:
    """Stop at a name that a registry or a directory cannot carry; raises InputError."""
    if not is_model_name(name):
        raise InputError(
            f"Model name {name!r} cannot be used. Take letters, digits, '.', '_' and '-', at most 128, "
            "beginning with a letter or a digit."
        )
