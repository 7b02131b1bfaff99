"""Components as in a run, each a process of its own, on a bucket: data, dataset, registry and deployment lie in it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cloud.bench.bench import Bench
from tunelane_components.deploy.interface import Revision
from tunelane_components.deploy.open import open_deployer
from tunelane_components.deploy.promotion import confirm_champion
from tunelane_components.registry.open import open_registry
from tunelane_pipelines.champion import champion_deployment
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.record import read_record
from tunelane_pipelines.samples import fetch
from tunelane_pipelines.settings import load_settings
from tunelane_serving.deployment import read_active
from tunelane_serving.files import sha256_bytes
from tunelane_serving.package import MANIFEST, package_digest

# The least that learns enough to be promoted.
_SMALLEST = ("rows=1500", "max_length_tokens=64", "minimum_f1=0.75")


class Place:
    """A root on this machine whose settings name the bucket for all the rest."""

    def __init__(self, root: Path, bucket: str) -> None:
        self.root = root
        self.uri = f"gs://{bucket}/team"
        self.registry_uri, self.deployment_uri = f"{self.uri}/registry", f"{self.uri}/deployments"
        self._profile = root.with_name("profile.yaml")
        self._profile.write_text(json.dumps({"registry_uri": self.registry_uri, "deployment_uri": self.deployment_uri}))

    @property
    def options(self) -> str:
        """What leads a command to it that runs where `tunelane` does."""
        return f"--root {self.root.name} --profile {self._profile.name}"

    def tunelane(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own; the environment leads it to the fakes."""
        place = ["--root", str(self.root), "--profile", str(self._profile)]
        return subprocess.run(
            [sys.executable, "-m", "tunelane_pipelines.cli", *arguments, *place],
            capture_output=True, text=True, check=False, cwd=self.root.parent,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, bench: Bench) -> Place:
    return Place(tmp_path / "root", bench.bucket)


@contextmanager
def served(*source: str, home: Path) -> Iterator[httpx.Client]:
    """The real server, on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tunelane_serving.server", *source, "--home", str(home), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        with httpx.Client(base_url=line.split()[-1], timeout=60, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def stored_manifest(bench: Bench, folder: str, digest: str) -> dict[str, Any]:
    """Hold a package in the bucket against its digest, every file of it; gives its manifest."""
    content = bench.storage.read(f"{folder}/{MANIFEST}")
    assert sha256_bytes(content) == digest
    manifest: dict[str, Any] = json.loads(content)
    for file in manifest["files"]:
        assert sha256_bytes(bench.storage.read(f"{folder}/{file['path']}")) == file["sha256"]
    path = folder.removeprefix(f"gs://{bench.bucket}/")
    assert len(bench.storage.names(bench.bucket, f"{path}/")) == len(manifest["files"]) + 1
    return manifest


def uploaded_summaries(bench: Bench) -> list[str]:
    """The dataset.json of each uploaded dataset."""
    names = bench.storage.names(bench.bucket, "team/training-data/")
    return [f"gs://{bench.bucket}/{name}" for name in names if name.endswith("/dataset.json")]


def champion_f1(place: Place) -> str:
    """The champion's macro-F1, as its version is tagged."""
    return open_registry(place.registry_uri).versions("sentiment")[0].tags["tunelane.macro_f1"]


@pytest.mark.slow
def test_a_run_on_this_machine_reads_and_leaves_everything_in_the_bucket(
    bench: Bench, place: Place, tmp_path: Path
) -> None:
    data = f"{place.uri}/data/train.csv"
    bench.storage.write(data, fetch("sentiment").read_bytes())
    run = place.tunelane(
        "run", "train-classifier", "--set", f"data={data}", "--set", "model_name=sentiment", "--set", "id_field=id",
        "--set", f"upload_root={place.uri}", *(part for each in _SMALLEST for part in ("--set", each)),
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Verdict   promote" in run.stdout, run.stdout
    (entry,) = list_runs(place.root)
    record = read_record(Path(entry.place))
    assert record.parameters["data"] == data

    # What the record of the run says, what lies in the bucket, and what the registry and the deployment name: one.
    package = record.artifact("validate-parity", "package")
    assert package is not None
    active = json.loads(bench.storage.read(f"{place.deployment_uri}/sentiment/active.json"))
    champion = open_registry(place.registry_uri).champion("sentiment")
    assert champion is not None
    assert package.digest == champion.digest == active["digest"]
    assert (champion.version, active["model_version"]) == ("1", "1")
    revision = f"{place.deployment_uri}/sentiment/revisions/{champion.digest}"
    manifest = stored_manifest(bench, revision, champion.digest)
    assert stored_manifest(bench, f"{place.registry_uri}/packages/{champion.digest}", champion.digest) == manifest

    (summary,) = uploaded_summaries(bench)
    dataset = json.loads(bench.storage.read(summary))
    assert dataset["digest"] == manifest["data_digest"]
    folder = summary.rpartition("/")[0]
    for name, digest in dataset["files"].items():
        assert sha256_bytes(bench.storage.read(f"{folder}/{name}")) == digest

    golden = manifest["goldens"][0]
    with served("--model", revision, "--expected-digest", champion.digest, home=tmp_path / "server") as client:
        answer = client.post("/predict", json={"text": golden["text"]}).json()
    assert answer["digest"] == champion.digest
    assert answer["confidence"] == pytest.approx(max(golden["scores"][answer["variant"]]), abs=1e-3)

    # The commands read both, on a machine that has neither.
    listed = place.tunelane("models", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout) | {"registered_at": ""} == {
        "name": "sentiment", "champion": "1", "macro_f1": pytest.approx(float(champion_f1(place))),
        "digest": champion.digest, "registered_at": "", "run_id": entry.run_id, "versions": 1, "deployed": "yes",
        "active_digest": champion.digest,
    }  # fmt: skip


def test_components_in_processes_of_their_own_bring_a_package_to_serve_from_the_bucket(
    bench: Bench, place: Place, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    registry, deployer = open_registry(place.registry_uri), open_deployer(place.deployment_uri)
    old = registry.register_candidate("sentiment", tiny_package(tmp_path / "old"), {})
    registry.move_champion("sentiment", expected=None, to=old.version)
    package = tiny_package(tmp_path / "new", bias=(0.5, 0.0))
    rows = [
        "text,label",
        *(f"sentence number {number} is {'good' if number % 2 else 'bad'},{number % 2}" for number in range(300)),
    ]
    bench.storage.write(f"{place.uri}/data/rows.csv", "\n".join(rows).encode())
    run = subprocess.run(
        [
            sys.executable, str(Path(__file__).parent / "scripts" / "promote.py"), str(tmp_path / "artifacts"),
            f"data={place.uri}/data/rows.csv", f"package={package}", f"upload_root={place.uri}",
            f"registry_uri={place.registry_uri}", f"deployment_uri={place.deployment_uri}",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    digest = package_digest(package)
    champion, active = registry.champion("sentiment"), deployer.active("sentiment")
    assert champion is not None and active is not None
    assert (champion.version, champion.digest) == (active.model_version, active.digest) == ("2", digest)
    assert registry.succession("sentiment") == ["1", "2"]
    # The champion that the run was compared with was fetched from the bucket, too.
    (pinned,) = (tmp_path / "artifacts").glob("*/resolve-champion/champion")
    assert package_digest(pinned) == old.digest
    (built,) = (tmp_path / "artifacts").glob("*/build-dataset/dataset/dataset.json")
    (uploaded,) = uploaded_summaries(bench)
    assert bench.storage.read(uploaded) == built.read_bytes()
    revision = f"{place.deployment_uri}/sentiment/revisions/{digest}"
    manifest = stored_manifest(bench, revision, digest)
    with served("--model", revision, "--expected-digest", digest, home=tmp_path / "server") as client:
        answer = client.post("/predict", json={"text": manifest["goldens"][0]["text"]}).json()
    assert answer["digest"] == digest
    assert answer["confidence"] == pytest.approx(max(manifest["goldens"][0]["scores"]["fp32"]), abs=1e-4)


def test_the_commands_about_models_work_on_a_registry_and_a_deployment_in_a_bucket(
    place: Place, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    listed = place.tunelane("models", "list")
    run = f"tunelane run train-classifier --set data=FILE {place.options}"
    assert (listed.returncode, listed.stdout) == (0, f"No models in {place.registry_uri} yet. Run: {run}\n")
    registry, deployer = open_registry(place.registry_uri), open_deployer(place.deployment_uri)
    versions = []
    for number in range(2):
        package = tiny_package(tmp_path / str(number), bias=(0.1 * number, 0.0))
        versions.append(registry.register_candidate("sentiment", package, {}))
        revision = Revision("sentiment", versions[-1].version, versions[-1].digest)
        deployer.deploy(revision, package)
        confirm_champion(registry, deployer, revision, expected_version=str(number) if number else None)

    shown = place.tunelane("models", "show", "sentiment")
    assert shown.returncode == 0, shown.stderr
    assert f"{place.registry_uri}/packages/{versions[1].digest}" in shown.stdout
    assert "negative, positive" in shown.stdout
    assert "2 of sentiment (champion)" in shown.stdout

    back = place.tunelane("models", "rollback", "sentiment", "--yes")
    assert back.returncode == 0, back.stderr
    assert f"{place.deployment_uri}/sentiment; a server takes it up with its next revision" in back.stdout
    champion, active = registry.champion("sentiment"), deployer.active("sentiment")
    assert champion is not None and active is not None
    assert champion.digest == active.digest == versions[0].digest

    # On a machine whose deployment is local, the registry in the bucket says what serves.
    here = load_settings(registry_uri=place.registry_uri, deployment_uri=f"local:{tmp_path}/deployments")
    local = read_active(champion_deployment(here, "sentiment"))
    assert local is not None and local.digest == versions[0].digest

    for command in (("predict", "good film"), ("serve", "--port", "0")):
        refused = place.tunelane(*command)
        assert refused.returncode == 2
        assert (
            f"{place.deployment_uri} is not on this machine. Set deployment_uri to local:DIRECTORY." in refused.stderr
        )
        assert refused.stderr.count("\n") == 1
