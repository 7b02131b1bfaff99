"""A copy of the repository as a user has it after `git clone` and `make run`, to type commands in."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tunelane_components.deploy.interface import Revision
from tunelane_components.deploy.open import open_deployer
from tunelane_components.images import IMAGE_BY_COMPONENT
from tunelane_components.registry.open import open_registry
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import RunRecord, TaskRecord, write_record
from tunelane_pipelines.samples import fetch
from tunelane_serving.package import TOKENIZER, package_digest

_TOPICS = ("editorials", "products", "tweets")
_ROWS_PER_TOPIC = 200
_METRICS_BY_TASK = {"validate-parity": {"rows": 323, "fp32_agreement": 1.0}}


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Give a maker of copies of the repository with an environment, and the files that the pages speak of."""

    def make() -> Path:
        place = tmp_path_factory.mktemp("clone")
        _copy_repository(place)
        _link_environment(place / ".venv")
        _write_data(place)
        return place

    return make


@pytest.fixture(scope="session")
def used_clone(clone: Callable[[], Path], tiny_package: Callable[..., Path]) -> Path:
    """A copy in which a run has made a champion of `sentiment`: the tiny package, registered, deployed and recorded."""
    place = clone()
    root = place / ".tunelane"
    _write_encoder(place / "encoder", tiny_package(place / "encoder-made"))
    # Without a word that it knows it says "positive".
    package = tiny_package(root / "made", bias=(0.0, 4.0))
    registry = open_registry(f"sqlite:///{root}/registry/registry.db")
    version = registry.register_candidate("sentiment", package, {})
    deployer = open_deployer(f"local:{root}/deployments")
    revision = Revision("sentiment", version.version, package_digest(package))
    deployer.deploy(revision, package)
    registry.move_champion("sentiment", expected=None, to=version.version)
    deployer.confirm(revision)
    _record_run(root)
    return place


def _copy_repository(place: Path) -> None:
    """Copy what git has and what it would take; into a repository, for the commands that ask git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    subprocess.run(["git", "add", "--all"], cwd=place, check=True)


def _link_environment(environment: Path) -> None:
    """Make a `.venv` of links to the one that runs the tests, which `make` takes for installed."""
    environment.mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != ".installed":
            (environment / part.name).symlink_to(part)
    (environment / ".installed").touch()


def _write_data(place: Path) -> None:
    """Write tickets.csv and held_out.csv, a task with three labels that nobody here made up, and images.json."""
    with fetch("sentiment").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    chosen = [row for topic in _TOPICS for row in [row for row in rows if row["source"] == topic][:_ROWS_PER_TOPIC]]
    for name, head in (("tickets.csv", ("body", "topic")), ("held_out.csv", ("text", "label"))):
        with (place / name).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(head)
            writer.writerows((row["text"], row["source"]) for row in chosen)
    images = {image: f"registry.example/{image}" for image in set(IMAGE_BY_COMPONENT.values())}
    (place / "images.json").write_text(json.dumps(images))


def _write_encoder(encoder: Path, package: Path) -> None:
    """Put a graph that gives one vector a text at encoder/, with its tokenizer: what somebody exported elsewhere."""
    encoder.mkdir()
    shutil.copy(package / "onnx" / "model.onnx", encoder)
    shutil.copy(package / TOKENIZER, encoder)
    shutil.rmtree(package)


def _record_run(root: Path) -> None:
    """Enter a finished run of train-classifier."""
    now = datetime.now(UTC)
    dag = read_dag(load_pipeline("train-classifier"))
    tasks = tuple(
        TaskRecord(
            task.name, task.display_name, task.component, task.needs, task.branch,
            state="succeeded", started_at=now, wall_s=1.0, metrics=_METRICS_BY_TASK.get(task.name, {}),
        )
        for task in dag.tasks
    )  # fmt: skip
    record = RunRecord(
        run_id=f"train-classifier-{now:%Y%m%d-%H%M%S}-0000",
        pipeline=dag.name,
        display_name=dag.display_name,
        target="local",
        started_at=now,
        command="tunelane run train-classifier --config sentiment",
        parameters={"model_name": "sentiment"},
        versions={},
        machine={},
        tasks=tasks,
        state="succeeded",
        wall_s=float(len(tasks)),
    )
    directory = root / "runs" / record.run_id
    directory.mkdir(parents=True)
    write_record(directory, record)
    Journal(root).enter(record, str(directory))


@pytest.fixture(scope="session")
def shell_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a user's shell has in its environment: nothing of this test run, and no settings."""
    # An answer that is an error ends curl with an error, too.
    settings = tmp_path_factory.mktemp("curl")
    (settings / ".curlrc").write_text("fail-with-body\n")
    mine = ("PYTEST", "TUNELANE_", "PYTHON", "COV_", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    if "TUNELANE_CACHE_DIR" in os.environ:
        kept["TUNELANE_CACHE_DIR"] = os.environ["TUNELANE_CACHE_DIR"]
    # The server is on this machine, whatever stands between it and the network.
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "CURL_HOME": str(settings)}
