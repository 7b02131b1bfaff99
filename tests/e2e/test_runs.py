"""Whole runs: what was registered and deployed, not what a run says of itself.

One file, because its tests share a run that takes a minute, and a file's tests stay on one worker.
"""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.e2e.place import SMALL, Place, Promoted
from tunelane_components.etl.taxonomy import load_taxonomy
from tunelane_components.evaluate.figures import read_evaluation
from tunelane_components.gate.verdict import Verdict
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.record import REPORT, read_record
from tunelane_pipelines.samples import fetch
from tunelane_serving.contract import read, write
from tunelane_serving.models.loading import load_classifier
from tunelane_serving.package import package_digest, read_manifest, seal, verify


@contextmanager
def served(deployment: Path) -> Iterator[httpx.Client]:
    """The real server following `deployment`, on a free port."""
    home = deployment.parents[1] / "server"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tunelane_serving.server", "--deployment", str(deployment)),
            *("--home", str(home), "--port", "0"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        with httpx.Client(base_url=line.split()[-1], timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_passing_gate_makes_the_trained_package_champion_and_serves_it(promoted: Promoted) -> None:
    digest = package_digest(promoted.place.artifact("validate-parity", "package"))
    champion, active = promoted.place.champion(), promoted.place.active()
    assert champion is not None and active is not None
    assert champion.digest == active.digest == digest
    assert "Verdict   promote" in promoted.output
    assert 'Served    "' in promoted.output
    with served(promoted.place.root / "deployments" / "sentiment") as client:
        answer = client.post("/predict", json={"text": "An absolutely wonderful film, I loved every minute."}).json()
    assert answer["label"] == "positive"
    assert answer["digest"] == digest
    assert answer["modelVersion"] == champion.version


def test_the_run_left_its_record_its_report_and_its_row_in_the_journal(promoted: Promoted) -> None:
    (entry,) = list_runs(promoted.place.root)
    assert (entry.state, entry.model, entry.decision) == ("succeeded", "sentiment", "promote")
    record = read_record(Path(entry.place))
    assert {task.name: task.state for task in record.tasks} == {
        **dict.fromkeys((task.name for task in record.tasks), "succeeded"),
        "report-verdict": "skipped",
    }
    champion, package = promoted.place.champion(), record.artifact("validate-parity", "package")
    assert champion is not None and package is not None
    assert package.digest == champion.digest
    trained = record.task("train-lora")
    assert trained is not None and trained.progress is not None
    assert trained.progress.valid_macro_f1 is not None
    assert 0 < trained.stage_s <= trained.wall_s < record.wall_s
    report = (Path(entry.place) / REPORT).read_text()
    for section in ("data", "training", "parity", "evaluation", "gate", "reproduce"):
        assert f'<section id="{section}"' in report
    assert "cannot be shown" not in report
    shown = promoted.place.tunelane("runs", "show")
    assert shown.returncode == 0, shown.stderr
    assert "✓ Confirm champion" in shown.stdout and "Verdict   promote" in shown.stdout


def test_what_a_run_deployed_answers_on_the_command_line(promoted: Promoted) -> None:
    answered = promoted.place.tunelane("predict", "An absolutely wonderful film, I loved every minute.")
    assert answered.returncode == 0, answered.stderr
    answer = json.loads(answered.stdout)
    champion = promoted.place.champion()
    assert champion is not None
    assert (answer["label"], answer["digest"]) == ("positive", champion.digest)


def test_the_package_says_what_it_is_and_where_it_came_from(promoted: Promoted) -> None:
    manifest = verify(promoted.place.artifact("validate-parity", "package"))
    assert [variant.name for variant in manifest.variants] == ["int8", "fp32"]
    assert manifest.base_model.licence == "apache-2.0"
    assert manifest.parity is not None and manifest.goldens and manifest.reference
    assert all(variant.golden_tolerance > 0 for variant in manifest.variants)


def test_the_evaluation_and_the_verdict_say_the_same_of_the_floor(promoted: Promoted) -> None:
    reported = read_evaluation(promoted.place.artifact("evaluate-model", "predictions")).floor.delta
    verdict = read(promoted.place.artifact("gate-model", "verdict"), Verdict)
    (rule,) = [rule for rule in verdict.rules if rule.name == "floor"]
    assert (rule.value, rule.lower, rule.upper) == (reported.value, reported.lower, reported.upper)


def test_a_challenger_that_answers_like_the_champion_does_not_replace_it(promoted: Promoted, tmp_path: Path) -> None:
    place = promoted.copied_to(tmp_path / "root")
    before = place.champion(), place.active()
    run = place.tunelane("run", "train-classifier", "--config", "sentiment", *SMALL)
    assert run.returncode == 0, run.stderr
    assert "Verdict   reject" in run.stdout
    assert "against the champion's" in run.stdout and "95 % interval +0.0 to +0.0" in run.stdout
    assert before == (place.champion(), place.active()) == (promoted.place.champion(), promoted.place.active())


def test_require_promotion_turns_a_rejection_into_exit_code_3_and_deploys_nothing(place: Place) -> None:
    run = place.tunelane(
        "run", "train-classifier", "--config", "sentiment", "--require-promotion",
        "--set", "rows=600", "--set", "epochs=1", "--set", "minimum_f1=0.99",
    )  # fmt: skip
    assert run.returncode == 3, run.stdout + run.stderr
    assert "Verdict   reject" in run.stdout
    assert place.champion() is None
    assert place.active() is None


def test_a_failed_smoke_test_leaves_the_old_champion_champion_and_serving(
    promoted: Promoted, tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    place = promoted.copied_to(tmp_path / "root")
    old = place.champion()
    assert old is not None
    package, verdict = _another_package(promoted, tmp_path)
    deployment = place.root / "deployments" / "sentiment"
    with served(deployment) as client:
        run = run_script(
            "deployment.py",
            package=str(package),
            verdict=str(verdict),
            digest=package_digest(package),
            registry_uri=f"sqlite:///{place.root}/registry/registry.db",
            deployment_uri=f"local:{place.root}/deployments",
            deployment=str(deployment),
        )
        assert run.returncode != 0
        assert "SmokeTestFailed" in run.stdout
        assert client.post("/predict", json={"text": "fine"}).json()["digest"] == old.digest
    active = place.active()
    assert active is not None and active.digest == old.digest
    assert place.champion() == old
    assert not (deployment / "revisions" / package_digest(package)).exists()


def _another_package(promoted: Promoted, directory: Path) -> tuple[Path, Path]:
    """The promoted package under another digest, and a promoting verdict on it."""
    package = directory / "challenger"
    shutil.copytree(promoted.place.artifact("validate-parity", "package"), package)
    digest = seal(package, msgspec.structs.replace(read_manifest(package), metrics={"valid_macro_f1": 0.99}))
    verdict = read(promoted.place.artifact("gate-model", "verdict"), Verdict)
    write(directory / "verdict.json", msgspec.structs.replace(verdict, challenger_digest=digest))
    return package, directory / "verdict.json"


@pytest.mark.parametrize(("how", "error"), [("tokenizer", "ParityFailed"), ("labels", "DigestMismatch")])
def test_a_package_damaged_between_export_and_parity_stops_the_run(
    promoted: Promoted,
    run_script: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    how: str,
    error: str,
) -> None:
    run = run_script(
        "parity.py",
        checkpoint=str(promoted.place.artifact("train-lora", "model")),
        data=str(promoted.place.artifact("build-dataset", "dataset")),
        how=how,
    )
    assert run.returncode != 0
    assert error in run.stdout
    assert not list((tmp_path / "artifacts").glob("*/validate-parity/package/manifest.json"))


def test_a_person_s_own_data_with_three_labels_goes_the_whole_way(place: Place) -> None:
    place.root.mkdir()
    data = place.root / "texts.csv"
    with data.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("body", "topic"))
        writer.writerows(_kinds_of_text(350))
    run = place.tunelane(
        "run", "train-classifier", "--set", f"data={data}", "--set", "text_field=body", "--set", "label_field=topic",
        "--set", "minimum_f1=0.7", "--set", "model_name=kinds", "--set", "epochs=3",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Verdict   promote" in run.stdout
    champion, active = place.champion("kinds"), place.active("kinds")
    assert champion is not None and active is not None
    assert champion.digest == active.digest
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("Taxonomy")]
    kept = place.root.parent / line.partition("taxonomy=")[2]
    assert load_taxonomy(kept).names == ("editorials", "products", "tweets")
    package = read_manifest(place.artifact("validate-parity", "package"))
    assert package.taxonomy is not None and package.taxonomy.names == ("editorials", "products", "tweets")


def _kinds_of_text(rows_per_topic: int) -> Iterator[tuple[str, str]]:
    """Texts of the sample by where they came from: a task with three labels that nobody here made up."""
    with fetch("sentiment").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for topic in ("editorials", "products", "tweets"):
        for row in [row for row in rows if row["source"] == topic][:rows_per_topic]:
            yield row["text"], topic


def _sample() -> list[str]:
    return ["--set", "data=sample://sentiment", "--set", "rows=300"]


def test_a_directory_saved_by_transformers_becomes_a_package_that_answers_alike(
    promoted: Promoted, place: Place
) -> None:
    checkpoint = promoted.place.artifact("train-lora", "model")
    run = place.tunelane("run", "convert", "--set", f"checkpoint={checkpoint}", *_sample())
    assert run.returncode == 0, run.stdout + run.stderr
    package = place.artifact("validate-parity", "package")
    original = load_classifier(promoted.place.artifact("validate-parity", "package"), None)
    converted = load_classifier(package, None)
    assert converted.classify("a dull and lifeless mess").labels == original.classify("a dull and lifeless mess").labels
    assert ["Package", str(package.relative_to(place.root.parent))] in [
        line.split() for line in run.stdout.splitlines()
    ]


def test_a_state_dict_needs_a_base_model_and_a_taxonomy_and_then_becomes_a_package(
    promoted: Promoted, place: Place, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(promoted.place.artifact("train-lora", "model"))
    weights = tmp_path / "weights.pt"
    torch.save({"state_dict": model.state_dict()}, weights)
    arguments = ["run", "convert", "--set", f"checkpoint={weights}", *_sample()]

    alone = place.tunelane(*arguments)
    assert alone.returncode == 2
    assert "base_model" in alone.stderr

    unnamed = place.tunelane(*arguments, "--set", "base_model=sample://minilm")
    assert unnamed.returncode == 2
    assert "taxonomy" in unnamed.stderr

    taxonomy = promoted.place.artifact("build-dataset", "dataset") / "taxonomy.json"
    run = place.tunelane(*arguments, "--set", "base_model=sample://minilm", "--set", f"taxonomy={taxonomy}")
    assert run.returncode == 0, run.stdout + run.stderr
    classifier = load_classifier(place.artifact("validate-parity", "package"), None)
    assert classifier.taxonomy.names == ("negative", "positive")
