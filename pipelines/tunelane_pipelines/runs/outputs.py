"""What a task wrote, as kfp's local runner leaves it: read into the record when the task ends."""

from pathlib import Path
from typing import Any

import msgspec

from tunelane_pipelines.runs.masking import mask_values
from tunelane_pipelines.runs.record import Artifact, TaskRecord
from tunelane_serving.errors import ContractError
from tunelane_serving.files import sha256_bytes, sha256_file

_EXECUTOR_OUTPUT = "executor_output.json"
_METRICS = "system.Metrics"


def take_outputs(task: TaskRecord, executor_input: dict[str, Any], directory: Path) -> None:
    """Fill in a task's artifacts, metrics and output parameters; passwords in them are masked.

    Args:
        task: the record to fill in.
        executor_input: what kfp gave the task: names, kinds and places of its outputs.
        directory: the run's directory, which paths are relative to.

    Raises:
        ContractError: what kfp wrote cannot be read.
    """
    outputs = executor_input.get("outputs", {})
    written = _executor_output(Path(outputs["outputFile"])) if "outputFile" in outputs else {}
    task.outputs = mask_values(written.get("parameterValues", {}))
    artifacts = []
    for name, given in outputs.get("artifacts", {}).items():
        place, kind = Path(given["artifacts"][0]["uri"]), given["artifacts"][0]["type"]["schemaTitle"]
        found = written.get("artifacts", {}).get(name, {}).get("artifacts", [{}])[0]
        metadata = mask_values(found.get("metadata", {}))
        if kind == _METRICS:
            task.metrics = metadata
            continue
        path = str(place.relative_to(directory)) if place.is_relative_to(directory) else str(place)
        digest = str(metadata.get("digest", "")) or content_digest(place)
        artifacts.append(Artifact(name, kind.removeprefix("system."), path, digest, metadata))
    task.artifacts = tuple(sorted(artifacts, key=lambda artifact: artifact.name))


def content_digest(path: Path) -> str:
    """SHA-256 of a file; of a directory, that of its files' names and digests; empty where there is nothing."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(found for found in path.rglob("*") if found.is_file())
    if not files:
        return ""
    lines = (f"{sha256_file(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return sha256_bytes("".join(lines).encode())


def _executor_output(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        raise ContractError(f"{path}: not what kfp writes: {error}") from error
