"""What the shell offers on TAB: names looked up when asked for, and nothing where looking fails."""

from pathlib import Path

import typer

from tunelane_serving.errors import TunelaneError


def complete_pipeline(incomplete: str) -> list[str]:
    """Pipelines by name."""
    from tunelane_pipelines.catalog import MODULE_BY_PIPELINE

    return [name for name in MODULE_BY_PIPELINE if name.startswith(incomplete)]


def complete_assignment(context: typer.Context, incomplete: str) -> list[str]:
    """`NAME=` for each parameter of the pipeline that stands on the command line already."""
    from tunelane_pipelines.catalog import load_pipeline
    from tunelane_pipelines.parameters import parameter_model

    try:
        # What follows an option without a value is not sorted into parameters yet.
        pipeline = context.params.get("pipeline") or next(iter(context.args), "")
        names = parameter_model(load_pipeline(pipeline)).model_fields
    except TunelaneError:
        return []
    return [f"{name}=" for name in names if name.startswith(incomplete)]


def complete_build_assignment(incomplete: str) -> list[str]:
    """`NAME=` for each parameter of a build of a dataset."""
    from tunelane_pipelines.data.parameters import settable_parameters

    return [f"{name}=" for name in settable_parameters() if name.startswith(incomplete)]


def complete_format(incomplete: str) -> list[str]:
    """The formats of a finished file."""
    from tunelane_components.etl.checking.forms import FORMS

    return [name for name in FORMS if name.startswith(incomplete)]


def complete_runner(incomplete: str) -> list[str]:
    """What performs a build."""
    from tunelane_pipelines.data.runners import RUNNERS

    return [name for name in RUNNERS if name.startswith(incomplete)]


def complete_config(incomplete: str) -> list[str]:
    """The shipped run configs."""
    from tunelane_pipelines.local.configs import shipped_configs

    return [name for name in shipped_configs() if name.startswith(incomplete)]


def complete_target(incomplete: str) -> list[str]:
    """The clusters by the name of their kind."""
    from tunelane_pipelines.compiling.resources import TARGETS

    return [name for name in TARGETS if name.startswith(incomplete)]


def complete_gpu(incomplete: str) -> list[str]:
    """What training may get."""
    from tunelane_pipelines.compiling.resources import GPUS

    return [name for name in GPUS if name.startswith(incomplete)]


def complete_sample(incomplete: str) -> list[str]:
    """The samples by name."""
    from tunelane_pipelines.samples import SAMPLES

    return [name for name in SAMPLES if name.startswith(incomplete)]


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of runs below the root in force, the newest first."""
    from tunelane_pipelines.runs.journal import Journal

    try:
        entries = Journal(_root(context)).entries()
    except TunelaneError:
        return []
    return [entry.run_id for entry in entries if entry.run_id.startswith(incomplete)]


def complete_model(context: typer.Context, incomplete: str) -> list[str]:
    """The models that are deployed below the root in force."""
    try:
        deployments = _root(context) / "deployments"
    except TunelaneError:
        return []
    names = sorted(path.parent.name for path in deployments.glob("*/active.json"))
    return [name for name in names if name.startswith(incomplete)]


def _root(context: typer.Context) -> Path:
    """The root in force, as far as the command line is typed."""
    from tunelane_pipelines.settings import load_settings

    return load_settings(context.params.get("profile"), root=context.params.get("root")).root
