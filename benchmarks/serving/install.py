"""How much a serve-only install takes on the disk."""

import os
import subprocess
import sys
import venv
from pathlib import Path
from shutil import copy2, copytree, ignore_patterns

_SOURCES = ("serving", "components", "pipelines")
_FILES = ("pyproject.toml", "README.md", "constraints.txt")


def installed_bytes(root: Path, directory: Path) -> int:
    """Install the repository at `root`, without extras, into a fresh environment below `directory`; give its size.

    It is what the packages and all that they need take on the disk, compiled modules included, without pip.

    Raises:
        subprocess.CalledProcessError: pip could not install it.
    """
    source, environment = directory / "source", directory / "venv"
    source.mkdir(parents=True)
    for name in _SOURCES:
        copytree(root / name, source / name, ignore=ignore_patterns("__pycache__", "*.egg-info"))
    for name in _FILES:
        copy2(root / name, source)
    venv.create(environment, with_pip=False)
    # Into the environment from outside, so that pip itself does not count.
    command = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
    command += ["--disable-pip-version-check", "--constraint", str(source / "constraints.txt"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return size_on_disk(next(environment.glob("lib/python*/site-packages")))


def size_on_disk(directory: Path) -> int:
    """Give the bytes that the files below a directory take, in whole blocks."""
    return sum(
        (Path(folder) / name).lstat().st_blocks * 512 for folder, _, names in os.walk(directory) for name in names
    )
