"""The verdict for people: a page for the console, and Markdown for the run's summary."""

from dataclasses import dataclass

from tunelane_components.gate.verdict import Rule, Verdict
from tunelane_components.report.charts import Strip, strip
from tunelane_components.report.page import page
from tunelane_components.report.templating import fill

_HEAD = ("Rule", "Outcome", "Measured", "Asked for", "95 % interval", "In words")
_TITLES = {
    "support": "Test rows of the rarest label",
    "minimum_f1": "Macro-F1 against the minimum",
    "floor": "Macro-F1 above the floor",
    "champion": "Macro-F1 above the champion",
}


@dataclass(frozen=True)
class _Line:
    """A rule as it is drawn: its figures in words and on a line."""

    rule: Rule
    title: str
    measured: str
    asked: str
    interval: str
    line: Strip


def section(verdict: Verdict) -> str:
    """Show the verdict as an HTML fragment: decision, sentence, every rule with its figures."""
    return fill("gate.html", verdict=verdict, lines=[_line(rule) for rule in verdict.rules])


def render(verdict: Verdict) -> str:
    """Show the verdict as a whole page."""
    return page(f"Verdict: {verdict.decision}", section(verdict))


def render_markdown(verdict: Verdict) -> str:
    """Show the verdict as Markdown: decision, sentence, a table of the rules."""
    champion = verdict.champion_digest or "none"
    lines = [
        f"# Verdict: {verdict.decision}",
        "",
        _plain(verdict.sentence),
        "",
        f"| {' | '.join(_HEAD)} |",
        f"|{' --- |' * len(_HEAD)}",
        *(f"| {' | '.join(_plain(cell) for cell in _cells(rule))} |" for rule in verdict.rules),
        "",
        f"{verdict.rows:,} rows. Challenger `{verdict.challenger_digest}`, champion `{champion}`.",
    ]
    return "\n".join(lines) + "\n"


def _line(rule: Rule) -> _Line:
    """Say a rule's figures in its own unit: rows, points of a difference, or F1."""
    whole, factor = rule.name == "support", 100.0 if rule.name in ("floor", "champion") else 1.0

    def said(figure: float) -> str:
        if whole:
            return f"{figure:,.0f}"
        return f"{100 * figure:+.1f}" if factor > 1 else f"{figure:.3f}"

    unit = " points" if factor > 1 else ""
    bounds = "" if rule.lower is None or rule.upper is None else f"{said(rule.lower)} to {said(rule.upper)}"
    return _Line(
        rule=rule,
        title=_TITLES.get(rule.name, rule.name),
        measured=said(rule.value) + unit,
        asked=("more than " if factor > 1 else "at least ") + said(rule.threshold).replace("+0.0", "0") + unit,
        interval=bounds,
        line=strip(rule.value, rule.threshold, rule.lower, rule.upper, whole=whole, factor=factor),
    )


def _cells(rule: Rule) -> tuple[str, ...]:
    bounds = "" if rule.lower is None or rule.upper is None else f"{rule.lower:.4f} to {rule.upper:.4f}"
    return rule.name, rule.outcome, f"{rule.value:.4g}", f"{rule.threshold:.4g}", bounds, rule.sentence


def _plain(text: str) -> str:
    """Keep a label's name from being read as markup or as a cell's end."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in " ".join(text.split()))
