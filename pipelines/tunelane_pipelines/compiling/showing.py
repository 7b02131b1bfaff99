"""What `tunelane compile` prints: the files, and what each task gets, which a launcher has only in its arguments."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import typer

from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.compiling.resources import Machine, Resources, Training, resources_of
from tunelane_pipelines.dag import DagTask, read_dag

_HEAD = ("machine", "GPU", "boot disk", "one try", "retries")
_NONE = "-"
_MINUTE_S = 60
_HOUR_S = 3600


def print_files(written: Sequence[Path]) -> None:
    """Print the files of `compile_files`; components are many, and are counted."""
    components = [path for path in written if path.parent.name == "components"]
    for path in written:
        if path not in components:
            typer.echo(path)
    for directory in dict.fromkeys(path.parent for path in components):
        typer.echo(f"{directory}/ ({sum(path.parent == directory for path in components)} components)")


def print_resources(written: Sequence[Path], training: Training) -> None:
    """Print for each target what the tasks of its pipelines get."""
    pipelines = [path for path in written if path.parent.name == "pipelines"]
    for directory in dict.fromkeys(path.parent for path in pipelines):
        names = [path.stem for path in pipelines if path.parent == directory]
        tasks = {task.name: task for name in names for task in read_dag(load_pipeline(name)).tasks}
        typer.echo()
        for line in resource_lines(tasks.values(), directory.parent.name, training):
            typer.echo(line)


def resource_lines(tasks: Iterable[DagTask], target: str, training: Training) -> Iterator[str]:
    """Write a table, aligned: one line a task under a head that names the target."""
    cells = [(task.name, *_cells(resources_of(task.component, target, training), training)) for task in tasks]
    rows = [(target, *_HEAD), *cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(resources: Resources, training: Training) -> tuple[str, ...]:
    needs, machine = resources.needs, resources.machine
    name, disk = _shape(machine), _NONE
    if resources.custom_job_type:
        count = f"{training.replicas} x " if training.replicas > 1 else ""
        name = f"{count}{resources.custom_job_type}{', spot' if training.spot else ''}"
        disk = f"{training.boot_disk_gb} GB {training.boot_disk_type}"
    gpu = f"{machine.accelerator_count} {machine.accelerator}" if machine.accelerator else _NONE
    return name, gpu, disk, _time(needs.timeout_s), str(needs.retries)


def _shape(machine: Machine) -> str:
    return f"{machine.cpu} CPU, {machine.memory.removesuffix('G')} GB"


def _time(seconds: int) -> str:
    return f"{seconds // _HOUR_S} h" if seconds >= _HOUR_S else f"{seconds // _MINUTE_S} min"
