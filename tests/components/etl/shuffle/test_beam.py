"""Beam performs the tasks of a build as this machine does: in an environment of its own, made as a user makes it."""

import csv
import gzip
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.shuffle.beam import beam_runner
from tunelane_serving.errors import InputError

_ROOT = Path(__file__).parents[4]
_SOURCE = ("pyproject.toml", "README.md", "constraints.txt", "serving", "components", "pipelines")
_LABELS = ("art", "language", "movement", "nature")
_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
_DATAFLOW = ("--runner=DataflowRunner", "--sdk_container_image=registry.example/tunelane", "--region=europe-west1")

slow = pytest.mark.slow

# Reads builds: [{"beam": options, "build": parameters, "instead": a function below}]; writes of each its digest, or its
# error as [type, message]. Small partitions, so that there are many; what is built does not depend on their size.
_BUILD = """
import json, logging, sys
from pathlib import Path
from tunelane_components.etl import build
from tunelane_components.etl.shuffle import beam
from tunelane_serving.errors import TunelaneError

def perform(task, plan):
    raise ZeroDivisionError("this task cannot be performed")

def _perform(place, root, call):
    pass

build._PARTITION_BYTES = 10_000
said = []
for asked in json.load(sys.stdin):
    if asked["instead"]:
        setattr(beam, asked["instead"], globals()[asked["instead"]])
    try:
        asked["build"]["output"] = Path(asked["build"]["output"])
        said.append(build.build_dataset(**asked["build"], runner=beam.beam_runner(asked["beam"])).summary.digest)
    except TunelaneError as error:
        said.append([type(error).__name__, str(error)])
assert not logging.getLogger().handlers, "Beam has set up logging for everybody"
print(json.dumps(said))
"""


def _asked(options: Sequence[str], instead: str = "", **parameters: object) -> dict[str, object]:
    return {"beam": options, "build": parameters, "instead": instead}


@pytest.fixture(scope="module")
def beam_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A virtual environment with the extra `beam` and nothing else."""
    directory = tmp_path_factory.mktemp("beam")
    source = directory / "source"
    source.mkdir()
    for name in _SOURCE:
        if (_ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(_ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(_ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "venv"], check=True)
    _install(directory, "beam")
    yield directory
    shutil.rmtree(directory)


def _install(directory: Path, extra: str) -> None:
    pip = [sys.executable, "-m", "pip", "--python", directory / "venv" / "bin" / "python"]
    # Compiling everything takes longer than what is imported here.
    asked = ["--quiet", "--no-compile", "--constraint", directory / "source" / "constraints.txt"]
    ended = subprocess.run(
        [*pip, "install", *asked, f"{directory / 'source'}[{extra}]"], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Observations in three files of three formats, with everything in them that a build counts."""
    folder = tmp_path_factory.mktemp("observations")
    generator = random.Random(7)  # noqa: S311
    words = [f"{start}{end}" for start in ("bal", "cor", "dri", "fen", "lum") for end in ("ane", "ido", "ure", "ost")]
    rows = [
        {
            "note": " ".join(generator.choices(words, k=12)) + f" {number}",
            "domain": _LABELS[generator.randrange(len(_LABELS)) if number % 5 else 0],
            "key": f"k{number}",
            "part": ("", "", "", "train", "test")[number % 5],
            "room": ("owls", "wrens")[number % 2],
        }
        for number in range(900)
    ]
    repeats = [row | {"note": row["note"].upper(), "key": f"again {row['key']}"} for row in rows[:40]]
    leaks = [row | {"part": "train"} for row in rows if row["part"] == "test"][:20]
    near = [row | {"note": f"{row['note']}!", "part": "train"} for row in rows if row["part"] == "test"][20:60]
    conflicts = [row | {"domain": "other"} for row in rows[40:50]]
    same_keys = [row | {"note": f"{row['room']} {row['note']} and so on"} for row in rows[50:60]]
    faulty = [
        rows[0] | {"note": "  "},
        rows[1] | {"domain": ""},
        rows[2] | {"part": "someday"},
        rows[3] | {"note": "word " * 40},
        rows[4] | {"note": "Write to anna@example.org about the leaves."},
    ]
    everything = rows + repeats + leaks + near + conflicts + same_keys + faulty
    generator.shuffle(everything)
    with (folder / "a.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(everything[::3])
    with gzip.open(folder / "b.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in everything[1::3])
    pq.write_table(pa.Table.from_pylist(everything[2::3]), folder / "c.parquet", row_group_size=100)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(path))
    return path


def _by_beam(environment: Path, *asked: dict[str, object]) -> list[Any]:
    """Build in the environment; give of each build the digest, or the error's type and message."""
    # From a directory without the checkout, which must not be what is imported.
    ended = subprocess.run(
        [environment / "venv" / "bin" / "python", "-c", _BUILD],
        input=json.dumps(asked, default=str),
        capture_output=True,
        text=True,
        cwd=environment / "venv",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    said: list[Any] = json.loads(ended.stdout)
    return said


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@slow
def test_beam_and_this_machine_write_the_same_bytes(
    beam_environment: Path, data: Path, tokenizer: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {
        "data": str(data),
        "text_field": "note",
        "label_field": "domain",
        "id_field": "key",
        "split_field": "part",
        "source_field": "room",
        "mask_personal_data": True,
        "tokenizer": str(tokenizer),
        "max_tokens": 30,
        "rows": 800,
        "max_per_label": 120,
        "min_per_label": 11,
        "formats": "messages",
    }
    summary = build_dataset(output=tmp_path / "local", **asked).summary
    assert _by_beam(beam_environment, _asked([], output=tmp_path / "beam", **asked)) == [summary.digest]
    assert _files(tmp_path / "beam") == _files(tmp_path / "local")
    # All of it was at work.
    counted = (
        summary.rows_merged,
        summary.rows_leaked,
        summary.rows_cut,
        summary.rows_near_duplicate,
        summary.rows_over_cap,
        summary.conflicting_texts,
        summary.repeated_ids,
    )
    assert min(counted) > 0
    reasons = {"empty_text", "missing_label", "unknown_split", "too_many_tokens", "conflicting_labels"}
    assert set(summary.quarantined) == reasons
    assert summary.personal_data == {"email": 1}


@slow
def test_beams_worker_processes_write_the_same_bytes(beam_environment: Path, data: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"data": str(data), "text_field": "note", "label_field": "domain"}
    summary = build_dataset(output=tmp_path / "local", **asked).summary
    assert _by_beam(beam_environment, _asked(_PROCESSES, output=tmp_path / "beam", **asked)) == [summary.digest]
    assert _files(tmp_path / "beam") == _files(tmp_path / "local")


@slow
def test_what_a_worker_says_of_the_data_is_what_this_machine_says(
    beam_environment: Path, data: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"data": str(data), "label_field": "topic", "output": tmp_path / "dataset"}
    with pytest.raises(InputError) as caught:
        build_dataset(**asked)
    assert _by_beam(beam_environment, _asked([], **asked)) == [["InputError", str(caught.value)]]
    assert list(tmp_path.iterdir()) == []


@slow
def test_a_pipeline_that_fails_or_leaves_nothing_is_one_line(
    beam_environment: Path, data: Path, tmp_path: Path
) -> None:
    asked = {"data": data, "output": tmp_path / "dataset"}
    said = _by_beam(beam_environment, _asked([], "perform", **asked), _asked([], "_perform", **asked))
    assert [kind for kind, _ in said] == ["TunelaneError"] * 2
    failed, lost = (message for _, message in said)
    assert failed.startswith("The Beam pipeline ended as FAILED on FnApiRunner: ZeroDivisionError: this task cannot be")
    assert lost.startswith("The Beam pipeline left no outcome of a task in ")
    assert "\n" not in failed + lost
    assert list(tmp_path.iterdir()) == []


@slow
def test_what_beam_cannot_use_is_one_line(beam_environment: Path, data: Path, tmp_path: Path) -> None:
    cases = [
        (["runner=DirectRunner"], "", "Write it as --name=value."),
        (["--direct_num_worker=2"], "", "has no option --direct_num_worker. Did you mean --direct_num_workers?"),
        (["--direct_num_workers=two"], "", "argument --direct_num_workers: invalid int value: 'two'"),
        (["--runner=Dataflw"], "", "Unexpected pipeline runner: Dataflw."),
        (["--runner=DataflowRunner"], "", "Pass --sdk_container_image=IMAGE."),
        (_DATAFLOW, "", "Pass a gs:// URI as the workspace."),
        (_DATAFLOW, f"local://{tmp_path}/work", "Pass a gs:// URI as the data."),
        ([], "memory://work", "Pass a gs:// URI as the workspace."),
    ]
    asked = [
        _asked(options, data=data, output=tmp_path / "dataset", workspace=workspace) for options, workspace, _ in cases
    ]
    for (kind, message), (*_, expected) in zip(_by_beam(beam_environment, *asked), cases, strict=True):
        assert kind == "InputError"
        assert expected in message
        assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


@slow
def test_the_command_line_builds_by_beam(beam_environment: Path, data: Path, tmp_path: Path) -> None:
    _install(beam_environment, "pipelines")
    build_dataset(str(data), tmp_path / "local", text_field="note", label_field="domain")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [beam_environment / "venv" / "bin" / "tunelane", "data", "build", str(data), "--runner", "beam"]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path)

    ended = run("--output", "beam", "--set=text_field=note", "--set=label_field=domain")
    assert ended.returncode == 0, ended.stderr
    assert _files(tmp_path / "beam") == _files(tmp_path / "local")
    refused = run("--output", "none", "--set=label_field=topic", "--set=text_field=note")
    assert refused.returncode == 2
    assert "topic" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "none").exists()


def test_without_apache_beam_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "apache_beam"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match=r"pip install 'tunelane\[beam\]'"):
        beam_runner()
