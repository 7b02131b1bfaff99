"""The evaluation as one HTML page: nothing loaded from elsewhere, light and dark, wide things scroll on a phone."""

from html import escape

from tunelane_components.evaluate.bootstrap import Interval
from tunelane_components.evaluate.evaluation import Comparison, Evaluation, LabelReport, SliceReport

_FEW_ROWS = 30
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --dim: #667085; --paper: #fff; --line: #e3e6ec; --mark: 37 99 235; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9f0; --dim: #98a1b3; --paper: #12151c; --line: #2b313d; --mark: 96 150 255; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto; padding: 1rem;
  max-width: 60rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; } .dim, th { color: var(--dim); font-weight: 400; }
.figures { display: flex; flex-wrap: wrap; gap: .75rem; }
.figure { border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem; min-width: 9rem; }
.figure b { display: block; font-size: 1.5rem; font-weight: 600; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
.matrix td { text-align: center; min-width: 2.2rem; } table th:first-child, table td:first-child { text-align: left; }
th.words, td.words { text-align: left; white-space: normal; min-width: 18rem; }
.track { position: relative; width: min(16rem, 40vw); height: .8rem; background: var(--line); border-radius: 3px; }
.track i { position: absolute; top: 0; bottom: 0; background: rgb(var(--mark) / .35); border-radius: 3px; }
.track u { position: absolute; top: -2px; bottom: -2px; width: 3px; background: rgb(var(--mark)); }
code { overflow-wrap: anywhere; }
"""


def page(title: str, body: str) -> str:
    """Wrap a whole HTML document around `body`, which is HTML already; `title` is plain text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def render(evaluation: Evaluation) -> str:
    """Show the evaluation as an HTML document: headline, labels, slices, confusion matrix."""
    figures = [
        _figure("Macro-F1", f"{evaluation.macro_f1.value:.3f}", _bounds(evaluation.macro_f1)),
        _figure("Micro-F1", f"{evaluation.micro_f1.value:.3f}", _bounds(evaluation.micro_f1)),
        _figure("Weighted F1", f"{evaluation.weighted_f1.value:.3f}", _bounds(evaluation.weighted_f1)),
        _comparison("Against the floor", evaluation.floor),
    ]
    if evaluation.champion is not None:
        figures.append(_comparison("Against the champion", evaluation.champion))
    sections = [
        f'<div class="figures">{"".join(figures)}</div>',
        f'<p class="dim">{evaluation.rows:,} test rows, accuracy {evaluation.accuracy:.3f}. Ranges are 95 % bootstrap '
        "intervals over rows. The floor is TF-IDF with logistic regression.</p>",
        "<h2>By label</h2>" + _labels(evaluation.per_label),
    ]
    if evaluation.per_slice:
        sections.append("<h2>By slice (macro-F1)</h2>" + _slices(evaluation.per_slice))
    sections.append("<h2>Confusion (true label down, predicted across)</h2>" + _confusion(evaluation))
    sections.append(
        f'<p class="dim">Package <code>{escape(evaluation.challenger_digest)}</code><br>'
        f"taxonomy <code>{escape(evaluation.taxonomy_digest)}</code><br>"
        f"test split <code>{escape(evaluation.test_digest)}</code></p>"
    )
    return page("Evaluation", "".join(sections))


def _bounds(interval: Interval) -> str:
    return f"{interval.lower:.3f} to {interval.upper:.3f}"


def _figure(name: str, value: str, note: str) -> str:
    return f'<div class="figure">{name}<b>{value}</b><span class="dim">{note}</span></div>'


def _comparison(name: str, other: Comparison) -> str:
    value, lower, upper = (100 * x for x in (other.delta.value, other.delta.lower, other.delta.upper))
    return _figure(name, f"{value:+.1f} points", f"{lower:+.1f} to {upper:+.1f}; its macro-F1 {other.macro_f1:.3f}")


def _labels(labels: tuple[LabelReport, ...]) -> str:
    rows = "".join(
        f"<tr><td>{escape(row.label)}</td><td>{row.f1:.3f}</td><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>"
        f"<td>{row.support:,}</td><td>{row.predicted:,}</td></tr>"
        for row in labels
    )
    head = "<tr><th>Label</th><th>F1</th><th>Precision</th><th>Recall</th><th>Rows</th><th>Predicted</th></tr>"
    return f'<div class="wide"><table>{head}{rows}</table></div>'


def _slices(slices: tuple[SliceReport, ...]) -> str:
    rows = []
    for row in slices:
        few = " (few)" if row.rows < _FEW_ROWS else ""
        left, right, mark = (100 * share for share in (row.macro_f1.lower, 1 - row.macro_f1.upper, row.macro_f1.value))
        bar = f'<i style="left:{left:.1f}%;right:{right:.1f}%"></i><u style="left:{mark:.1f}%"></u>'
        rows.append(
            f"<tr><td>{escape(row.dimension)}: {escape(row.value)}</td><td>{row.rows:,}{few}</td>"
            f"<td>{row.macro_f1.value:.3f}</td><td>{_bounds(row.macro_f1)}</td>"
            f'<td><div class="track">{bar}</div></td></tr>'
        )
    head = "<tr><th>Slice</th><th>Rows</th><th>Macro-F1</th><th>Interval</th><th></th></tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _confusion(evaluation: Evaluation) -> str:
    head = "".join(f"<th>{escape(label)}</th>" for label in evaluation.labels)
    rows = []
    for label, counts in zip(evaluation.labels, evaluation.confusion, strict=True):
        shades = (f"rgb(var(--mark) / {0.6 * number / max(sum(counts), 1):.2f})" for number in counts)
        cells = "".join(f'<td style="background:{s}">{n:,}</td>' for s, n in zip(shades, counts, strict=True))
        rows.append(f"<tr><td>{escape(label)}</td>{cells}</tr>")
    return f'<div class="wide"><table class="matrix"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
