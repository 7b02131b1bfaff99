"""A local deployment: the directory between the local deployer, which writes it, and the server, which follows it.

```
<deployment>/revisions/<digest>/   model packages, each whole and never edited
<deployment>/active.json           the revision that serves
```
"""

from pathlib import Path
from typing import Literal

import msgspec

from tunelane_serving.contract import read, write

ACTIVE = "active.json"


class ActiveRevision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The revision that serves: registry model and version, and the package's digest."""

    model: str
    model_version: str
    digest: str
    version: Literal[1] = 1


def revision_path(deployment: Path, digest: str) -> Path:
    """Where the package of that digest lies in a deployment."""
    return deployment / "revisions" / digest


def read_active(deployment: Path) -> ActiveRevision | None:
    """The revision that serves, or None before the first one; raises ContractError where the file is broken."""
    path = deployment / ACTIVE
    return read(path, ActiveRevision) if path.exists() else None


def write_active(deployment: Path, revision: ActiveRevision) -> None:
    """Make `revision` the one that serves, in one atomic step."""
    write(deployment / ACTIVE, revision)
