"""Compiling pipelines as a machine without accounts, settings or network would."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_COMPILE = """
import socket, sys

def no_network(*arguments):
    raise AssertionError(f"compiling opened a connection: {arguments}")

socket.socket.connect = socket.getaddrinfo = no_network
from kfp import compiler
from tunelane_pipelines.catalog import load_pipeline
compiler.Compiler().compile(load_pipeline(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture(scope="session")
def compile_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """Compile a pipeline of the catalog in a process with an empty environment; gives the YAML."""

    def run(name: str) -> bytes:
        home: Path = tmp_path_factory.mktemp("compiled")
        environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
        command = [sys.executable, "-c", _COMPILE, name, "pipeline.yaml"]
        subprocess.run(command, check=True, cwd=home, env=environment)
        return (home / "pipeline.yaml").read_bytes()

    return run
