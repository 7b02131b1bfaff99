"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RootOption = Annotated[Path | None, typer.Option("--root", help="Where runs, registry and deployments lie.")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="YAML file with settings.")]
