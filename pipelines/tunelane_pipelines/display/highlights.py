"""A run in words: the one thing to say of a task that ended, the closing table, the next command."""

import shlex
from pathlib import Path

from tunelane_pipelines.runs.advice import again, short
from tunelane_pipelines.runs.figures import agreement, headline, measures, verdict_of
from tunelane_pipelines.runs.record import ENDED, LOCAL, LOG, PARAMETERS, REPORT, RunRecord, TaskRecord

_DIGEST_CHARACTERS = 12
_MEASURES_BY_COMPONENT = {
    "build_dataset": "{rows_train:,.0f} train, {rows_valid:,.0f} valid, {rows_test:,.0f} test",
    "train_lora": "validation macro-F1 {valid_macro_f1:.3f}, best epoch {best_epoch:.0f}",
    "evaluate_model": "macro-F1 {macro_f1:.3f}, floor {floor_macro_f1:.3f}",
    "smoke_test": "{requests:.0f} requests, slowest {max_latency_ms:.1f} ms",
}


def highlight(task: TaskRecord) -> str:
    """What a task came to, in a few words: its key figures, its error, or nothing."""
    if task.state == "failed":
        # A service may hand on a whole traceback.
        return " ".join(task.error.split())
    if task.state != "succeeded":
        return ""
    output = str(task.outputs.get("Output", ""))
    if task.component == "resolve_champion":
        # Of a run at a service no outputs are known: whether there is a champion is not said then.
        none = "none yet" if "Output" in task.outputs else ""
        return f"version {output}" if output else none
    if task.component == "fingerprint_data":
        return output[:_DIGEST_CHARACTERS]
    if task.component == "gate_model":
        return output
    if task.component == "register_candidate":
        return f"version {output}" if output else ""
    measured = measures(task)
    if task.component == "export_onnx":
        return ", ".join(f"{name.removesuffix('_mb')} {size:.1f} MB" for name, size in sorted(measured.items()))
    if task.component == "validate_parity":
        found = agreement(task)
        return f"{found.variant} {100 * found.share:.1f} % of labels as PyTorch's" if found else ""
    try:
        return _MEASURES_BY_COMPONENT.get(task.component, "").format(**measured)
    except KeyError:
        # A record of another release may have other figures.
        return ""


def summary(record: RunRecord, directory: Path) -> list[tuple[str, str]]:
    """What a run came to, as names and values: figures, verdict, where things lie."""
    return [*_figures(record), *_remote(record), *_places(record, directory)]


def _figures(record: RunRecord) -> list[tuple[str, str]]:
    rows = []
    verdict = verdict_of(record)
    if verdict is not None:
        rows += [("Verdict", verdict.name), ("", verdict.sentence)]
    if record.state != "succeeded":
        rows += [("State", record.state), *([("", record.error)] if record.error else [])]
    rows += [(name, f"{value} ({note})" if note else value) for name, value, note in headline(record)]
    smoke = record.task("smoke-test")
    if smoke is not None and smoke.state == "succeeded":
        text, label = smoke.metrics.get("text"), smoke.metrics.get("label")
        rows.append(("Served", f'"{text}" → {label} ({measures(smoke).get("confidence", 0):.2f})'))
    return rows


def _remote(record: RunRecord) -> list[tuple[str, str]]:
    if record.remote is None:
        return []
    rows = [("Console", record.remote.console_url), ("Schedule", record.remote.schedule)]
    failed = next((task for task in record.tasks if task.state == "failed" and task.log_url), None)
    rows.append(("Log", failed.log_url if failed else ""))
    return [(name, value) for name, value in rows if value]


def _places(record: RunRecord, directory: Path) -> list[tuple[str, str]]:
    rows = []
    dataset = record.artifact("build-dataset", "dataset")
    if dataset is not None and not record.parameters.get("taxonomy") and record.task("import-checkpoint") is None:
        taxonomy = short(directory / dataset.path / "taxonomy.json")
        rows.append(("Taxonomy", f"inferred; to keep it: --set {shlex.quote(f'taxonomy={taxonomy}')}"))
    package = record.artifact("validate-parity", "package")
    if package is not None and package.digest:
        rows.append(("Package", str(short(directory / package.path))))
    # A run that was killed has no report.
    named = (("Report", directory / REPORT), ("Log", directory / LOG))
    rows += [(name, str(short(path))) for name, path in named if path.exists()]
    if record.overhead is not None:
        rows.append(("Seconds", f"{record.wall_s:.0f}, {record.overhead.total_s:.1f} of them no stage's own work"))
    return rows


def next_command(record: RunRecord, directory: Path, root: Path, profile: Path | None = None) -> str:
    """The command to type after a run: serve what it made or met, or run it again as it was; or go on with it."""
    return again(_next_words(record, directory), root, profile)


def _next_words(record: RunRecord, directory: Path) -> str:
    if record.target != LOCAL:
        return _next_of_remote(record, directory)
    if record.state != "succeeded":
        return f"run {record.pipeline} --config {_quoted(directory / PARAMETERS)}"
    evaluated = record.task("evaluate-model")
    if record.promoted or (evaluated and "champion_macro_f1" in evaluated.metrics):
        return f"serve --model {shlex.quote(str(record.parameters['model_name']))}"
    package = record.artifact("validate-parity", "package")
    return "runs list" if package is None else f"serve --package {_quoted(directory / package.path)}"


def _next_of_remote(record: RunRecord, directory: Path) -> str:
    if record.state == "needs-resume":
        return f"runs resume {record.run_id}"
    if record.state not in ENDED:
        return f"runs watch {record.run_id}"
    if record.state == "succeeded" or not (directory / PARAMETERS).exists():
        return f"runs logs {record.run_id}"
    return f"submit {record.pipeline} --target {record.target} --config {_quoted(directory / PARAMETERS)}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(short(path)))


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 1 min 05 s, 2 h 03 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, whole_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {whole_s:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
