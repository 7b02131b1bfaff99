"""Small files of labelled text."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

TOPICS = ("billing", "delivery", "praise")


@pytest.fixture
def tickets() -> list[dict[str, Any]]:
    """300 distinct tickets under three topics, from two sources."""
    return [
        {
            "key": f"k{number}",
            "text": f"Ticket number {number}",
            "label": TOPICS[number % 3],
            "channel": ("mail", "form")[number % 2],
        }
        for number in range(300)
    ]


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as JSONL under the test's directory."""

    def write(rows: Sequence[dict[str, Any]], name: str = "tickets.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
