"""The verdict for people: a page for the console, and Markdown for the run's summary."""

from html import escape

from tunelane_components.evaluate.report import page
from tunelane_components.gate.verdict import Rule, Verdict

_HEAD = ("Rule", "Outcome", "Measured", "Asked for", "95 % interval", "In words")


def render(verdict: Verdict) -> str:
    """Show the verdict as an HTML document."""
    head = _html_row("th", _HEAD)
    rows = "".join(_html_row("td", _cells(rule)) for rule in verdict.rules)
    body = (
        f"<p>{escape(verdict.sentence)}</p>"
        f'<div class="wide"><table>{head}{rows}</table></div>'
        f'<p class="dim">{verdict.rows:,} rows. Challenger <code>{escape(verdict.challenger_digest)}</code><br>'
        f"champion <code>{escape(verdict.champion_digest or 'none')}</code></p>"
    )
    return page(f"Verdict: {verdict.decision}", body)


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


def _html_row(tag: str, cells: tuple[str, ...]) -> str:
    """One table row; the last cell holds words, which wrap."""
    *figures, words = (escape(cell) for cell in cells)
    said = "".join(f"<{tag}>{figure}</{tag}>" for figure in figures)
    return f'<tr>{said}<{tag} class="words">{words}</{tag}></tr>'


def _cells(rule: Rule) -> tuple[str, ...]:
    bounds = "" if rule.lower is None or rule.upper is None else f"{rule.lower:.4f} to {rule.upper:.4f}"
    return rule.name, rule.outcome, f"{rule.value:.4g}", f"{rule.threshold:.4g}", bounds, rule.sentence


def _plain(text: str) -> str:
    """Keep a label's name from being read as markup or as a cell's end."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in " ".join(text.split()))
