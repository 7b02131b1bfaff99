"""Environments of the other servers, made when they are needed and kept."""

import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

from .contestants import LITSERVE, MLSERVER

CACHE = Path.home() / ".cache" / "tunelane" / "benchmarks"
# MLServer asks uvloop for an event loop in a way that later versions refuse.
REQUIREMENTS_BY_PEER = {LITSERVE: ["litserve==0.2.19"], MLSERVER: ["mlserver==1.7.1", "uvloop==0.21.0"]}
# The same versions as ours run the graph.
_SHARED = ("onnxruntime", "tokenizers")
_INSTALL_S = 600.0


class CannotInstall(Exception):
    """A peer cannot be had here; the message says why."""


def peer_python(name: str) -> str:
    """Give the interpreter of a peer's environment, installed first where it is not there.

    Raises:
        CannotInstall: pip could not install it.
    """
    requirements = [*REQUIREMENTS_BY_PEER[name], *(f"{package}=={version(package)}" for package in _SHARED)]
    directory = CACHE / name
    python, stamp = directory / "bin" / "python", directory / "installed.txt"
    wanted = "\n".join(requirements) + "\n"
    if stamp.is_file() and stamp.read_text() == wanted:
        return str(python)
    venv.create(directory, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.CalledProcessError as error:
        raise CannotInstall(f"{name} cannot be installed: {error.stderr.strip().rpartition(chr(10))[2]}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"{name} was not installed within {_INSTALL_S:.0f} s") from error
    stamp.write_text(wanted)
    return str(python)
