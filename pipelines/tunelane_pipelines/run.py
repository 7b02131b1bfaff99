"""`tunelane run`: parameters from every place, the run on this machine, and what it says at the end."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from tunelane_components.deploy.open import open_deployer
from tunelane_components.gate.gate import check_thresholds
from tunelane_components.gate.verdict import Verdict
from tunelane_components.parity.parity import ParityBounds
from tunelane_components.train.lora import LoraOptions
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.local import LOG, LocalRun, check_paths, run_locally
from tunelane_pipelines.local_worker import TaskEvent
from tunelane_pipelines.parameters import check_parameters, parse_assignments, read_config
from tunelane_pipelines.samples import resolve
from tunelane_pipelines.settings import Settings
from tunelane_serving.contract import read
from tunelane_serving.errors import InputError

_PATH_PARAMETERS = ("data", "taxonomy", "checkpoint", "base_model")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_EXECUTOR_LINE = re.compile(r"^\s*\[KFP Executor [^\]]* (?:INFO|WARNING)\]: (.*)$")
# What kfp says of itself, and a kernel that only 4-bit models need.
_CHATTER = (
    "Looking for component",
    "Loading KFP component",
    "Got executor_input",
    "Wrote executor output",
    "Failed to load CPU gemm",
)


def run_pipeline(pipeline: str, *, config: str, assignments: list[str], settings: Settings) -> bool:
    """Run a pipeline here and print what happened; returns whether a new champion came of it.

    Raises:
        InputError: a parameter, a file or the root cannot be used.
        TunelaneError: a task failed, or the run was interrupted.
    """
    parameters = local_parameters(pipeline, config=config, assignments=assignments, settings=settings)
    run = run_locally(pipeline, parameters, settings.root, on_event=_print_event, on_line=_print_line)
    typer.echo("")
    for line in summary(run, parameters, settings):
        typer.echo(line)
    return promoted(run)


def local_parameters(pipeline: str, *, config: str, assignments: list[str], settings: Settings) -> dict[str, Any]:
    """The pipeline's parameters for a run on this machine, checked: settings < config < assignments.

    Samples are fetched, relative paths made absolute, and files that are not there refused.
    """
    function = load_pipeline(pipeline)
    known = set(inspect.signature(function.pipeline_func).parameters)
    defaults = {
        "registry_uri": settings.registry_uri,
        "deployment_uri": settings.deployment_uri,
        **({"base_model": settings.base_model} if pipeline == "train-classifier" else {}),
    }
    given = {name: value for name, value in defaults.items() if name in known}
    if config:
        given |= read_config(config_path(config))
    parameters = check_parameters(function, given, parse_assignments(assignments))
    check_paths(settings.root, parameters)
    _check_ahead(parameters)
    for name in _PATH_PARAMETERS:
        if parameters.get(name):
            parameters[name] = _located(name, resolve(parameters[name]))
    return parameters


def _check_ahead(parameters: Mapping[str, Any]) -> None:
    """Let the tasks from the training on refuse their parameters now, rather than when their turn comes."""
    ParityBounds(min_agreement=parameters["min_agreement"], min_f1_delta=parameters["min_f1_delta"])
    if "minimum_f1" in parameters:
        LoraOptions(**{field.name: parameters[field.name] for field in fields(LoraOptions)})
        check_thresholds(parameters["minimum_f1"], parameters["margin"], parameters["minimum_support"])
        open_deployer(parameters["deployment_uri"])


def config_path(config: str) -> Path:
    """A run config by path, or by the name of one that is shipped.

    Raises:
        InputError: there is neither; names the shipped ones.
    """
    if Path(config).is_file():
        return Path(config)
    shipped = Path(__file__).parent / "configs"
    found = shipped / f"{config}.yaml"
    if found.is_file():
        return found
    names = ", ".join(sorted(path.stem for path in shipped.glob("*.yaml")))
    raise InputError(f"No such config: {config}. Pass a YAML file, or one of the shipped ones: {names}.")


def summary(run: LocalRun, parameters: dict[str, Any], settings: Settings) -> list[str]:
    """What a finished run came to: verdict with its figures, a served answer, where things lie, what to type next."""
    lines = []
    has_champion = promoted(run)
    verdict_path = run.artifact("gate-model", "verdict")
    if verdict_path is not None:
        verdict = read(verdict_path, Verdict)
        has_champion = has_champion or bool(verdict.champion_digest)
        lines += [f"Verdict   {verdict.decision}", f"          {verdict.sentence}"]
    smoke = run.metrics("smoke-test")
    if smoke:
        lines.append(f'Served    "{smoke["text"]}" → {smoke["label"]} ({smoke["confidence"]:.2f})')
    dataset = run.artifact("build-dataset", "dataset")
    if dataset is not None and not parameters["taxonomy"]:
        lines.append(f"Taxonomy  inferred; to keep it: --set taxonomy={_short(dataset / 'taxonomy.json')}")
    package = run.artifact("validate-parity", "package")
    if package is not None:
        lines.append(f"Package   {_short(package)}")
    lines.append(f"Log       {_short(run.directory / LOG)}")
    lines.append(f"Seconds   {sum(run.seconds_by_task.values()):.0f}")
    if has_champion:
        root = "" if settings.root == Path.cwd() / ".tunelane" else f" --root {_short(settings.root)}"
        lines.append(f"Next      tunelane serve{root} --model {parameters['model_name']}")
    elif package is not None:
        lines.append(f"Next      tunelane serve --package {_short(package)}")
    return lines


def promoted(run: LocalRun) -> bool:
    """Whether a new champion came of the run."""
    return "confirm-champion" in run.seconds_by_task


def _short(path: Path) -> Path:
    """`path` as the user would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _located(name: str, value: str) -> str:
    """`value` as an absolute path where it is local; hub ids and URIs as they are."""
    if "://" in value:
        return value
    path = Path(value).expanduser()
    if path.exists():
        return str(path.absolute())
    if name == "base_model" and _HUB_ID.fullmatch(value):
        return value
    raise InputError(f"No such file or directory: {value}. Pass --set {name}=PATH or a gs:// URI that exists.")


def _print_event(event: TaskEvent, seconds: float) -> None:
    if event.state == "running":
        typer.echo(f"▸ {event.task}")
    else:
        typer.echo(f"{'✓' if event.state == 'succeeded' else '✗'} {event.task} {seconds:.1f} s")


def _print_line(_task: str, line: str) -> None:
    match = _EXECUTOR_LINE.match(line)
    if match and not match[1].startswith(_CHATTER):
        typer.echo(f"    {match[1]}")
