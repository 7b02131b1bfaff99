"""The figures that a run is judged by at a glance, from what its tasks logged."""

from typing import NamedTuple

from tunelane_pipelines.runs.record import RunRecord, TaskRecord

_KIND_BY_DECISION = {"promote": "good", "reject": "bad", "insufficient": "doubt"}


class Figure(NamedTuple):
    """One tile: its name, its value, and a line that explains it."""

    name: str
    value: str
    note: str = ""


class Agreement(NamedTuple):
    """A graph and the share of rows on which its label is PyTorch's."""

    variant: str
    share: float


class Decision(NamedTuple):
    """The gate's verdict: the decision, how it is coloured (good, bad, doubt), and the sentence."""

    name: str
    kind: str
    sentence: str


def verdict_of(record: RunRecord) -> Decision | None:
    """The gate's verdict, or None where the run has none."""
    gate = task_of(record, "gate_model")
    artifact = gate.artifact("verdict") if gate else None
    name = str(artifact.metadata.get("decision", "")) if artifact else ""
    if artifact is None or not name:
        return None
    return Decision(name, _KIND_BY_DECISION.get(name, "doubt"), str(artifact.metadata.get("sentence", "")))


def headline(record: RunRecord) -> list[Figure]:
    """Macro-F1 with its interval, floor, champion, parity and size, each as far as the run came."""
    figures = []
    evaluated = _metrics(record, "evaluate_model")
    if "macro_f1" in evaluated:
        figures.append(Figure("Macro-F1", f"{evaluated['macro_f1']:.3f}", _range(evaluated, "macro_f1", ".3f", 1.0)))
        figures.append(_against(evaluated, "floor"))
        figures.append(_against(evaluated, "champion"))
    parity = task_of(record, "validate_parity")
    found = agreement(parity) if parity else None
    if parity is not None and found is not None:
        rows = f" on {measures(parity)['rows']:,.0f} rows" if "rows" in measures(parity) else ""
        figures.append(Figure("Parity", f"{100 * found.share:.1f} %", f"{found.variant} labels as PyTorch's{rows}"))
    # The smallest first: a record read back has its metrics by name, not by preference.
    sizes = sorted((size, name.removesuffix("_mb")) for name, size in _metrics(record, "export_onnx").items())
    if sizes:
        (smallest, name), *others = sizes
        also = "".join(f"; {other} {size:.1f} MB" for size, other in others)
        figures.append(Figure("Graph", f"{smallest:.1f} MB", f"{name}{also}"))
    return figures


def task_of(record: RunRecord, component: str) -> TaskRecord | None:
    """The first task that runs a component, or None."""
    return next((task for task in record.tasks if task.component == component), None)


def measures(task: TaskRecord) -> dict[str, float]:
    """The numbers that a task logged, if it succeeded: JSON has null for what was none."""
    if task.state != "succeeded":
        return {}
    return {name: value for name, value in task.metrics.items() if isinstance(value, int | float)}


def agreement(parity: TaskRecord) -> Agreement | None:
    """The graph that agrees least with PyTorch, or None where nothing was compared."""
    found = [
        Agreement(name.removesuffix("_agreement"), value)
        for name, value in measures(parity).items()
        if name.endswith("_agreement")
    ]
    return min(found, key=lambda one: one.share, default=None)


def _metrics(record: RunRecord, component: str) -> dict[str, float]:
    task = task_of(record, component)
    return measures(task) if task else {}


def _against(evaluated: dict[str, float], other: str) -> Figure:
    if f"{other}_macro_f1" not in evaluated:
        return Figure(other.capitalize(), "none yet")
    delta = f"{100 * evaluated[f'{other}_delta']:+.1f} points" if f"{other}_delta" in evaluated else ""
    bounds = _range(evaluated, f"{other}_delta", "+.1f", 100.0)
    return Figure(
        other.capitalize(), f"{evaluated[f'{other}_macro_f1']:.3f}", f"{delta}, {bounds}" if bounds else delta
    )


def _range(metrics: dict[str, float], name: str, form: str, factor: float) -> str:
    """A metric's 95 % interval, or empty where it has none."""
    if f"{name}_lower" not in metrics or f"{name}_upper" not in metrics:
        return ""
    return " to ".join(format(factor * metrics[f"{name}_{end}"], form) for end in ("lower", "upper"))
