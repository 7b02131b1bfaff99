"""What a deployer must do, in this order: deploy, smoke, then confirm or roll back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tunelane_serving.deployment import ActiveRevision
from tunelane_serving.errors import TunelaneError


class SmokeTestFailed(TunelaneError):
    """The deployed revision does not answer as the package says it must; the old one keeps serving."""


@dataclass(frozen=True)
class Revision:
    """A deployed package that gets no traffic yet: registry model and version, and the package's digest."""

    model: str
    model_version: str
    digest: str


@dataclass(frozen=True)
class SmokeReport:
    """What the smoke test saw: requests answered, the slowest one, and one answer to show."""

    requests: int
    max_latency_ms: float
    text: str
    label: str
    confidence: float


class Deployer(Protocol):
    """One place to serve from."""

    def deploy(self, revision: Revision, package: Path) -> None:
        """Bring the package there, ready to answer, without traffic. Doing it again changes nothing."""
        ...

    def smoke(self, revision: Revision) -> SmokeReport:
        """Ask the deployed revision itself for its golden rows; raises SmokeTestFailed."""
        ...

    def confirm(self, revision: Revision) -> None:
        """Give the revision all traffic."""
        ...

    def roll_back(self, revision: Revision) -> None:
        """Take an unconfirmed revision away; whoever serves keeps serving."""
        ...

    def active(self, model: str) -> ActiveRevision | None:
        """The revision of a model that serves, or None before the first one."""
        ...
