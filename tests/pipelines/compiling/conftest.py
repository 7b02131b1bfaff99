"""Everything compiled once, with images by digest, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_components.images import IMAGE_BY_COMPONENT
from tunelane_pipelines.compiling.images import LAUNCHER

_COMPILE = """
import sys
from pathlib import Path
from tunelane_pipelines.compiling.files import compile_files
compile_files(Path(sys.argv[1]), images=Path(sys.argv[2]) if len(sys.argv) > 2 else None)
"""


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """A reference by digest for every logical name, the launcher's among them."""
    logical = sorted({*IMAGE_BY_COMPONENT.values(), LAUNCHER})
    return {name: f"registry.example/team/lane@sha256:{number:064x}" for number, name in enumerate(logical)}


@pytest.fixture(scope="session")
def images_file(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("images") / "images.json"
    path.write_text(json.dumps(images))
    return path


@pytest.fixture(scope="session")
def compile_all() -> Callable[..., None]:
    """`compile_all(output, images_file=None, **environment)` in a process with that environment alone."""

    def run(output: Path, images_file: Path | None = None, **environment: str) -> None:
        arguments = [str(output), *([str(images_file)] if images_file else [])]
        subprocess.run([sys.executable, "-c", _COMPILE, *arguments], check=True, env=environment, cwd=output.parent)

    return run


@pytest.fixture(scope="session")
def compiled(compile_all: Callable[..., None], images_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with everything compiled for both targets, every image by digest."""
    output = tmp_path_factory.mktemp("compiled") / "out"
    compile_all(output, images_file)
    return output


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., str]:
    """Run a script in a process of its own, since kfp.local and aiplatform keep state; gives its output."""

    def run(script: str, *arguments: str) -> str:
        finished = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    return run
