"""The files of `containers/`, read once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Instructions = list[tuple[str, str]]


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def dockerfile(root: Path) -> Callable[[str], Instructions]:
    """Give an image's Dockerfile as (instruction, rest of its line) pairs, continued lines joined."""

    def read(image: str) -> Instructions:
        text = (root / "containers" / image / "Dockerfile").read_text()
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        joined = "\n".join(lines).replace("\\\n", " ")
        pairs = [line.split(maxsplit=1) for line in joined.splitlines()]
        return [(instruction, " ".join(rest.split())) for instruction, rest in pairs]

    return read


@pytest.fixture(scope="session")
def compose(root: Path) -> dict[str, Any]:
    content = yaml.safe_load((root / "containers" / "docker-compose.yml").read_text())
    assert isinstance(content, dict)
    return content
