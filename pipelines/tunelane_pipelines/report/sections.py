"""The stages' own sections, each from the artifact that the stage left."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tunelane_pipelines.runs.record import RunRecord
from tunelane_serving.contract import read
from tunelane_serving.errors import TunelaneError


class Section(NamedTuple):
    """A stage in the report: `html` is its section, or empty where `problem` says why it cannot be shown."""

    id: str
    title: str
    html: str
    problem: str = ""


def sections(directory: Path, record: RunRecord) -> list[Section]:
    """Show every stage that left its artifact, in the order of the DAG."""
    found: dict[str, Section] = {}
    for task in record.tasks:
        if task.component not in _STAGES:
            continue
        name, title, artifacts, show = _STAGES[task.component]
        paths = {artifact.name: directory / artifact.path for artifact in task.artifacts if artifact.digest}
        # An id stands once on a page: where a component runs twice, its first task is shown.
        if name in found or not paths.keys() & artifacts:
            continue
        try:
            found[name] = Section(name, title, show(paths))
        except TunelaneError as error:
            found[name] = Section(name, title, "", str(error))
    return list(found.values())


# Each imports its stage when it is shown, and no other.


def _data(paths: dict[str, Path]) -> str:
    from tunelane_components.etl.dataset import read_summary
    from tunelane_components.etl.report import section
    from tunelane_components.etl.statistics import read_statistics

    return section(read_summary(paths["dataset"]), read_statistics(paths["dataset"]))


def _training(paths: dict[str, Path]) -> str:
    from tunelane_components.train.checkpoint import read_card
    from tunelane_components.train.report import section

    return section(read_card(paths["model"]))


def _parity(paths: dict[str, Path]) -> str:
    """Show the comparison, which a failed check leaves too; else what stands in the package."""
    from tunelane_components.parity.comparison import ParityComparison
    from tunelane_components.parity.report import section
    from tunelane_serving.errors import ContractError
    from tunelane_serving.package import read_manifest

    if "comparison" in paths:
        comparison = read(paths["comparison"], ParityComparison)
        return section(comparison.report, comparison)
    report = read_manifest(paths["package"]).parity
    if report is None:
        raise ContractError(f"{paths['package']}: the package has no parity report")
    return section(report, None)


def _evaluation(paths: dict[str, Path]) -> str:
    from tunelane_components.evaluate.figures import read_evaluation
    from tunelane_components.evaluate.report import section

    return section(read_evaluation(paths["predictions"]))


def _gate(paths: dict[str, Path]) -> str:
    from tunelane_components.gate.report import section
    from tunelane_components.gate.verdict import Verdict

    return section(read(paths["verdict"], Verdict))


class _Stage(NamedTuple):
    """A stage's id on the page, its heading, the artifacts that it can be shown from, and how."""

    id: str
    title: str
    artifacts: frozenset[str]
    show: Callable[[dict[str, Path]], str]


_TRAINING = _Stage("training", "Training", frozenset({"model"}), _training)
_STAGES = {
    "build_dataset": _Stage("data", "Data", frozenset({"dataset"}), _data),
    "train_lora": _TRAINING,
    "import_checkpoint": _TRAINING,
    "validate_parity": _Stage("parity", "Parity", frozenset({"comparison", "package"}), _parity),
    "evaluate_model": _Stage("evaluation", "Evaluation", frozenset({"predictions"}), _evaluation),
    "gate_model": _Stage("gate", "Gate", frozenset({"verdict"}), _gate),
}
