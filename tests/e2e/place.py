"""A root of runs, and what can be asked of it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tunelane_components.registry.interface import ModelVersion
from tunelane_components.registry.open import open_registry
from tunelane_serving.deployment import ActiveRevision, read_active

# 1,500 rows and two epochs are the least that learn enough to pass a gate worth the name.
SMALL = ["--set", "rows=1500", "--set", "minimum_f1=0.75"]


@dataclass(frozen=True)
class Place:
    """A root and what can be asked of it, apart from what any run says of itself."""

    root: Path

    def tunelane(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line here and wait for it."""
        command = [sys.executable, "-m", "tunelane_pipelines.cli", *arguments, "--root", str(self.root)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.root.parent,
            env={**os.environ, **(env or {})},
        )

    def champion(self, model: str = "sentiment") -> ModelVersion | None:
        """Who the registry says is champion."""
        return open_registry(f"sqlite:///{self.root}/registry/registry.db").champion(model)

    def active(self, model: str = "sentiment") -> ActiveRevision | None:
        """What the local deployment serves."""
        return read_active(self.root / "deployments" / model)

    def artifact(self, task: str, name: str) -> Path:
        """The artifact of a task in the only run that has it."""
        (found,) = (self.root / "runs").glob(f"*/artifacts/*/{task}/{name}")
        return found


@dataclass(frozen=True)
class Promoted:
    """A root where one run has made a champion, and what that run printed."""

    place: Place
    output: str

    def copied_to(self, root: Path) -> Place:
        """Another root with the same champion, registered and deployed, and no runs: for tests that go on from it."""
        for part in ("registry", "deployments"):
            shutil.copytree(self.place.root / part, root / part)
        return Place(root)
