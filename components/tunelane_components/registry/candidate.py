"""A challenger that passed the gate, registered with what the gate said."""

from pathlib import Path

import msgspec

from tunelane_components.gate.verdict import Verdict
from tunelane_components.registry.interface import ModelVersion, Registry
from tunelane_serving.contract import read
from tunelane_serving.errors import ContractError
from tunelane_serving.package import package_digest


def register_promoted(registry: Registry, name: str, package: Path, verdict: Path, *, run_id: str = "") -> ModelVersion:
    """Register `package` as a candidate for champion, tagged with its verdict.

    Args:
        registry: where to.
        name: the registry's name for the model.
        package: a model package directory.
        verdict: the gate's verdict file on that very package.
        run_id: the run that made it; empty where nobody knows.

    Raises:
        ContractError: the verdict is on another package, or does not promote.
    """
    decided = read(verdict, Verdict)
    digest = package_digest(package)
    if decided.challenger_digest != digest:
        raise ContractError(
            f"{verdict}: field challenger_digest: the verdict is on {decided.challenger_digest[:12]}, "
            f"the package is {digest[:12]}"
        )
    if decided.decision != "promote":
        raise ContractError(f"{verdict}: field decision: {decided.decision}; only a promoted package is registered")
    tags = verdict_tags(decided)
    if run_id:
        tags["tunelane.run_id"] = run_id
    return registry.register_candidate(name, package, tags)


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """Give a registered version's tags about its verdict; the rules' values are one JSON object by rule name."""
    values = {rule.name: rule.value for rule in verdict.rules}
    measured = {} if verdict.macro_f1 is None else {"tunelane.macro_f1": repr(verdict.macro_f1)}
    return {
        **measured,
        "tunelane.verdict": verdict.decision,
        "tunelane.verdict.sentence": verdict.sentence,
        "tunelane.verdict.rows": str(verdict.rows),
        "tunelane.verdict.rules": msgspec.json.encode(values).decode(),
        "tunelane.verdict.champion_digest": verdict.champion_digest,
    }
