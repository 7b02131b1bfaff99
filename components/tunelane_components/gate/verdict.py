"""The verdict: what the gate decided, by which rules, in figures and in words."""

from typing import Literal

import msgspec

Decision = Literal["promote", "reject", "insufficient"]
Outcome = Literal["passed", "failed", "undecided"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule with its figures: `value` was measured, `threshold` asked for. `lower` and `upper` bound the value."""

    name: str
    value: float
    threshold: float
    outcome: Outcome
    sentence: str
    lower: float | None = None
    upper: float | None = None


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gate's decision. `champion_digest` is empty where there was no champion; `rows` were compared.

    `macro_f1` is the challenger's on them; None in a verdict that was written before it was noted.
    """

    decision: Decision
    sentence: str
    rules: tuple[Rule, ...]
    rows: int
    challenger_digest: str
    champion_digest: str = ""
    macro_f1: float | None = None
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("rules: a verdict rests on at least one rule")
        if self.decision == "promote" and any(rule.outcome != "passed" for rule in self.rules):
            raise ValueError("decision: promote needs every rule passed")
