"""How long a server takes from its start to the first correct answer, and how much memory it has then."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contestants import Contestant
from .processes import ServerFailed, memory_bytes
from .rounds import Started

_REQUESTS = 50


@dataclass(frozen=True)
class ColdStart:
    """One start.

    Attributes:
        first_answer_s: from the start of the process to the first correct answer, all read.
        resident_bytes: VmRSS then; peak_bytes: VmHWM.
        later_resident_bytes: VmRSS after 50 more requests, and later_peak_bytes VmHWM.
    """

    first_answer_s: float
    resident_bytes: int
    peak_bytes: int
    later_resident_bytes: int
    later_peak_bytes: int


def golden_row(package: Path) -> tuple[str, dict[str, float], float]:
    """Give a text that the package must answer, its scores by label, and how far they may be off.

    Raises:
        ServerFailed: the package has no golden rows.
    """
    manifest: dict[str, Any] = json.loads((package / "manifest.json").read_bytes())
    if not manifest.get("goldens"):
        raise ServerFailed(f"{package} has no golden rows, so that nobody can say which answer is correct")
    variant, golden = manifest["variants"][0], manifest["goldens"][0]
    labels = [label["name"] for label in manifest["taxonomy"]["labels"]]
    return (
        golden["text"],
        dict(zip(labels, golden["scores"][variant["name"]], strict=True)),
        variant["golden_tolerance"],
    )


def cold_start(contestant: Contestant, package: Path, texts: Sequence[str], directory: Path) -> ColdStart:
    """Start a server, wait for the golden row's answer, then send 50 texts; raises ServerFailed for a wrong answer."""
    text, scores, tolerance = golden_row(package)
    with Started(contestant, directory) as server:
        answer, first_answer_s = server.wait(text)
        resident_bytes, peak_bytes = memory_bytes(server.process.session)
        if any(abs(answer["scores"][label] - score) > tolerance for label, score in scores.items()):
            raise ServerFailed(f"{contestant.name}: the first answer is wrong: {answer['scores']}, expected {scores}")
        for position in range(_REQUESTS):
            server.ask(texts[position % len(texts)])
        return ColdStart(first_answer_s, resident_bytes, peak_bytes, *memory_bytes(server.process.session))
