"""What it takes to repeat a run: the command, and the digests of what went in and came out."""

import shlex
from pathlib import Path

from tunelane_pipelines.display.highlights import duration
from tunelane_pipelines.runs.figures import task_of
from tunelane_pipelines.runs.record import LOCAL, PARAMETERS, RunRecord

# Component, artifact, key of its metadata (empty: the artifact's own digest), and what it is called.
_DIGESTS = (
    ("build_dataset", "dataset", "", "Dataset"),
    ("build_dataset", "dataset", "taxonomy_digest", "Taxonomy"),
    ("resolve_champion", "champion", "", "Champion"),
    ("train_lora", "model", "base_model", "Base model"),
    ("train_lora", "model", "", "Checkpoint"),
    ("import_checkpoint", "model", "", "Checkpoint"),
    ("validate_parity", "package", "", "Package"),
)


def repeat_command(directory: Path, record: RunRecord) -> str:
    """The command that runs the pipeline again with the same parameters, whatever directory it is typed in."""
    run = directory.absolute()
    verb = ["run"] if record.target == LOCAL else ["submit", "--target", record.target]
    places = ["--config", str(run / PARAMETERS), "--root", str(run.parents[1])]
    return shlex.join(["tunelane", *verb, record.pipeline, *places])


def digests(record: RunRecord) -> list[tuple[str, str]]:
    """What the run came from and what it made, by digest, as far as it came."""
    found = []
    for component, name, key, title in _DIGESTS:
        task = task_of(record, component)
        artifact = task.artifact(name) if task else None
        if artifact is not None:
            value = str(artifact.metadata.get(key, "")) if key else artifact.digest
            found += [(title, value)] if value else []
    return found


def overhead(record: RunRecord) -> list[tuple[str, str]]:
    """What of the run was no stage's own work, in words; empty where it was not measured."""
    if record.overhead is None:
        return []
    return [
        ("Until the first task", duration(record.overhead.start_s)),
        ("The runner's part of the tasks", duration(record.overhead.tasks_s)),
        ("Most of it for one task", duration(record.overhead.longest_task_s)),
        ("Processes handing back memory", duration(record.overhead.exits_s)),
        ("Between tasks", duration(record.overhead.between_s)),
        ("After the last task", duration(record.overhead.end_s)),
        ("In all", duration(record.overhead.total_s)),
    ]
