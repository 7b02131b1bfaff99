"""The smoke test's questions and the right answers: the package's golden rows, asked of a running server."""

import http.client
import json
import time
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from tunelane_components.deploy.interface import SmokeReport, SmokeTestFailed
from tunelane_serving.package import Golden, Manifest
from tunelane_serving.server.wire import Health, Prediction

T = TypeVar("T", bound=msgspec.Struct)

# The tolerance was measured on float32 scores, which JSON carries as decimals.
_ROUNDING = 1e-6


def golden_mismatch(manifest: Manifest, golden: Golden, answer: Prediction) -> str:
    """Say how `answer` differs from what the package must answer to `golden`; empty where it does not.

    Scores are compared with those of the variant that answered, within its tolerance. The labels must follow from the
    golden scores; where these are so close to a tie, or to a threshold, that the tolerance decides, either is right.
    """
    variant = next((variant for variant in manifest.variants if variant.name == answer.variant), None)
    if manifest.taxonomy is None or variant is None:
        return f"variant {answer.variant!r} is not in the package"
    expected = dict(zip(manifest.taxonomy.names, golden.scores[variant.name], strict=True))
    if answer.scores.keys() != expected.keys():
        return f"labels are {', '.join(answer.scores)} instead of {', '.join(expected)}"
    tolerance = variant.golden_tolerance + _ROUNDING
    for label, score in expected.items():
        if not abs(answer.scores[label] - score) <= tolerance:
            return f"{label} has {answer.scores[label]:.6f} instead of {score:.6f}, {tolerance:.1g} is allowed"
    if manifest.task == "multi_label":
        bounds = {label: manifest.thresholds.get(label, 0.5) for label in expected}
        certain = {label for label, score in expected.items() if score > bounds[label] + tolerance}
        possible = {label for label, score in expected.items() if score >= bounds[label] - tolerance}
    else:
        best = max(expected.values())
        possible = {label for label, score in expected.items() if score >= best - 2 * tolerance}
        certain = possible if len(possible) == 1 else set()
        if answer.label is None or answer.labels != (answer.label,):
            return f"one label is due, the answer has {answer.label!r} and {list(answer.labels)}"
    if not certain <= set(answer.labels) <= possible:
        return f"labels are {list(answer.labels)}, the golden scores say {sorted(certain or possible)}"
    return ""


def ask_goldens(url: str, manifest: Manifest, digest: str, *, deadline_s: float) -> SmokeReport:
    """Ask the server at `url` for its health and for every golden row.

    Args:
        url: `http://HOST:PORT`.
        manifest: of the package that it must serve.
        digest: of that package.
        deadline_s: when to stop waiting, on `time.monotonic`'s clock.

    Raises:
        SmokeTestFailed: it does not answer, serves another package, or answers a row otherwise than the package says.
    """
    if not manifest.goldens:
        raise SmokeTestFailed("The package has no golden rows to ask for; they are written by validate_parity.")
    health = _ask(url, "GET", "/health", None, Health, deadline_s)
    if not health.ready or health.digest != digest:
        raise SmokeTestFailed(f"The server has {health.digest[:12] or 'nothing'} ready, expected {digest[:12]}.")
    answers: list[Prediction] = []
    slowest_s = 0.0
    for golden in manifest.goldens:
        started_s = time.perf_counter()
        answer = _ask(url, "POST", "/predict", {"text": golden.text}, Prediction, deadline_s)
        slowest_s = max(slowest_s, time.perf_counter() - started_s)
        if answer.digest != digest or answer.variant != health.variant:
            raise SmokeTestFailed(
                f"{answer.variant} of {answer.digest[:12]} answered, expected {health.variant} of {digest[:12]}."
            )
        problem = golden_mismatch(manifest, golden, answer)
        if problem:
            raise SmokeTestFailed(f"Golden row {_short(golden.text)!r} is answered wrongly: {problem}.")
        answers.append(answer)
    # They stand in order of length: the middle one reads best.
    shown = len(answers) // 2
    return SmokeReport(
        requests=len(answers),
        max_latency_ms=round(slowest_s * 1000, 3),
        text=manifest.goldens[shown].text,
        label=", ".join(answers[shown].labels),
        confidence=answers[shown].confidence or 0.0,
    )


def _ask(url: str, method: str, path: str, body: dict[str, str] | None, kind: type[T], deadline_s: float) -> T:
    # http.client and not urllib.request: that would ask a proxy from the environment for 127.0.0.1.
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=max(deadline_s - time.monotonic(), 0.001))
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise SmokeTestFailed(f"{method} {path} got no answer: {error or type(error).__name__}.") from error
    finally:
        connection.close()
    if response.status != 200:
        said = _short(content.decode(errors="replace"))
        raise SmokeTestFailed(f"{method} {path} was answered with {response.status}: {said}.")
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise SmokeTestFailed(f"{method} {path} was answered with something else: {error}.") from error


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
