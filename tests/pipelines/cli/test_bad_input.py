"""What a user can get wrong in a run: exit code 2, a line or two that say what to do, and nothing half-written."""

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import dsl

from tunelane_components.etl.component import build_dataset
from tunelane_pipelines.cli import main as cli
from tunelane_pipelines.local.parameters import local_parameters
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.settings import load_settings
from tunelane_serving.errors import InputError

_ROWS = 60
# Its label stands on line 3 for the first time; the header is line 1.
_GOOD = "text,label\n" + "".join(f"number {number} of them,{'ab'[number % 2]}\n" for number in range(_ROWS))

_FILES: dict[str, bytes] = {
    "good.csv": _GOOD.encode(),
    "empty.csv": b"",
    "header.csv": b"text,label\n",
    "latin.csv": "text,label\ncaf\u00e9,a\n".encode("latin-1"),
    "single.csv": _GOOD.replace(",b\n", ",a\n").encode(),
    "few.csv": "".join(_GOOD.splitlines(keepends=True)[:9]).encode(),
    "rows.parquet": b"PAR1",
    "quote.csv": b'text,label\n"never closed,a\n',
    "ac.yaml": b"labels: [a, c]\n",
    "broken.yaml": b"labels: [a,\n",
    "one.yaml": b"labels: [a]\n",
    "list.yaml": b"- data\n",
    "unknown.yaml": b"data: good.csv\nlabel_feild: topic\n",
    "wrong_type.yaml": b"data: good.csv\nrows: many\n",
    "notes.txt": b"these are no weights",
    "notes.pt": b"these are no weights",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with every file that the cases name."""
    for name, content in _FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "python3.12").mkdir()
    (tmp_path / "python3.12" / "good.csv").write_bytes(_FILES["good.csv"])
    return tmp_path


@pytest.fixture
def refused(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command line here, where kfp is loaded once; it must refuse with exit code 2. Gives the message."""
    monkeypatch.chdir(place)

    def run(*arguments: str, root: str | None = "root") -> str:
        before = _everything(place)
        options = ["--root", root] if root is not None else []
        monkeypatch.setattr(sys, "argv", ["tunelane", *arguments, *options])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        assert caught.value.code == 2, said
        assert 1 <= len(said.err.splitlines()) <= 2, said.err
        # Of a refused run nothing is left but the place of the others, and their journal without a row of its own.
        runs = place / "root" / "runs"
        assert not _everything(place) - before - {runs.parent, runs, runs / "journal.db"}
        assert Journal(place / "root").entries() == []
        return said.err

    return run


def _everything(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


def _set(**values: str) -> list[str]:
    return [argument for name, value in values.items() for argument in ("--set", f"{name}={value}")]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "empty.csv"}, "empty.csv is empty. Pass a file with labelled rows"),
        ({"data": "good.csv", "taxonomy": "ac.yaml"}, "good.csv:3: 'b' is not in the taxonomy; the nearest is 'c'"),
        ({"data": "good.csv", "model_name": "team/tickets"}, "Model name 'team/tickets' cannot be used"),
        ({"data": "good.csv", "registry_uri": "http://mlflow:5000"}, "Registry 'http://mlflow:5000' is not supported"),
    ],
    ids=lambda value: ",".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
def test_a_task_that_finds_the_input_wanting_says_so_and_the_run_leaves_nothing(
    values: dict[str, str], words: str, refused: Callable[..., str]
) -> None:
    """None of these trains: the base model is an empty directory."""
    message = refused("run", "train-classifier", *_set(**{"base_model": "folder", **values}))
    assert re.search(words, message), message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "header.csv"}, "header.csv has no rows. Pass a file with labelled rows"),
        ({"data": "good.csv", "text_field": "body"}, "No column 'body'.*--set text_field=.*has: text, label"),
        ({"data": "good.csv", "label_field": "topic"}, "No column 'topic'.*--set label_field=.*has: text, label"),
        ({"data": "good.csv", "source_field": "origin"}, "No column 'origin'.*--set source_field="),
        ({"data": "latin.csv"}, r"not in the encoding .*latin\.csv:2: byte 0xe9 is not UTF-8"),
        ({"data": "single.csv"}, "label 'a'; a classifier needs at least two"),
        ({"data": "few.csv"}, "8 rows are left of 8 read.*at least 50 must be.*--set minimum_rows"),
        ({"data": "good.csv", "rows": "-1"}, "rows=-1: pass 0 for all rows"),
        ({"data": "good.csv", "test_fraction": "1"}, "valid_fraction=0.1 and test_fraction=1.0: .*sum below 1"),
        ({"data": "rows.parquet"}, "rows.parquet cannot be read as Parquet"),
        ({"data": "folder"}, "folder holds no file to read"),
        ({"data": "quote.csv"}, "quote.csv:2: a quote is opened and never closed"),
        ({"data": "good.csv", "taxonomy": "broken.yaml"}, "broken.yaml is not valid YAML"),
        ({"data": "good.csv", "taxonomy": "one.yaml"}, "one.yaml.*at least two labels"),
        ({"data": "good.csv", "taxonomy": "notes.txt"}, "unknown kind of taxonomy"),
        ({"data": "good.csv", "taxonomy": "folder.yaml"}, "Cannot read the taxonomy .*folder.yaml: Is a directory"),
    ],
    ids=lambda value: ",".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
def test_the_first_task_refuses_what_it_cannot_use(
    values: dict[str, str], words: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task itself: how its refusal becomes that of the command is the same for all, and is tested above."""
    monkeypatch.chdir(place)
    assignments = [f"{name}={value}" for name, value in {"base_model": "folder", **values}.items()]
    parameters = local_parameters(
        "train-classifier", config="", assignments=assignments, settings=load_settings(root=place / "root")
    )
    task = build_dataset.python_func
    given = {name: parameters[name] for name in inspect.signature(task).parameters if name in parameters}
    outputs = {
        "dataset": dsl.Dataset(uri=str(place / "dataset")),
        "metrics": dsl.Metrics(uri=str(place / "metrics")),
        "report": dsl.HTML(uri=str(place / "report")),
    }
    with pytest.raises(InputError) as caught:
        task(**given, **outputs)
    assert re.search(words, str(caught.value)), caught.value
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "No value for data. Pass --set data="),
        (_set(data="nowhere.csv"), "No such file or directory: nowhere.csv. Pass --set data="),
        (_set(data="sample://sentimnt"), "No sample 'sentimnt'. Did you mean 'sentiment'"),
        (_set(data="good.csv", taxonomy="nowhere.yaml"), "No such file or directory: nowhere.yaml"),
        (_set(data="good.csv", base_model="./nowhere"), "No such file or directory: ./nowhere. Pass --set base_model="),
        (_set(data="good.csv", base_model="/no/such/model"), "No such file or directory: /no/such/model"),
        (_set(data="good.csv", base_model="sample://minilmm"), "No sample 'minilmm'. Did you mean 'minilm'"),
        (_set(data="good.csv", epoch="1"), "No parameter 'epoch'. Did you mean 'epochs'"),
        (_set(data="good.csv", rows="many"), "'rows' wants a whole number; correct --set rows=many"),
        (["--set", "rows"], "Cannot read --set 'rows'. Write it as NAME=VALUE"),
        (["--config", "nowhere.yaml"], "No such config: nowhere.yaml.*shipped ones: sentiment"),
        (["--config", "broken.yaml"], "broken.yaml:2: .*Correct the YAML there"),
        (["--config", "list.yaml"], "list.yaml: not a mapping"),
        (["--config", "unknown.yaml"], "No parameter 'label_feild'. Did you mean 'label_field'"),
        (["--config", "wrong_type.yaml"], "wants a whole number; correct rows: 'many' in the config"),
        (["--profile", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["--rot", "elsewhere"], "No such option: --rot"),
        (_set(data="python3.12/good.csv"), 'data has "python3" in it.*local runner replaces. Rename it'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_be_seen_on_the_command_line_stops_before_anything_runs(
    arguments: list[str], words: str, refused: Callable[..., str], place: Path
) -> None:
    message = refused("run", "train-classifier", *arguments)
    assert re.search(words, message), message
    assert not (place / "root").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": "0"}, "epochs must be at least 1, not 0"),
        ({"minimum_f1": "2"}, "minimum_f1 is 2.0; pass a number from 0 to 1"),
        ({"min_agreement": "2"}, "min_agreement is 2.0; pass a share from 0 to 1."),
        ({"min_f1_delta": "-2"}, "min_f1_delta is -2.0; pass a difference from -1 to 1, such as -0.03."),
        ({"deployment_uri": "cloudrun:p/s"}, "Deployment 'cloudrun:p/s' is not supported"),
    ],
    ids=str,
)
def test_what_a_late_task_would_refuse_is_refused_before_the_training(
    values: dict[str, str], words: str, refused: Callable[..., str], place: Path
) -> None:
    message = refused("run", "train-classifier", *_set(data="good.csv", **values))
    assert words in message
    assert not (place / "root").exists()


@pytest.mark.parametrize("root", ["good.csv/root", "/proc/nowhere/root"])
def test_an_unwritable_root_is_named(root: str, refused: Callable[..., str], place: Path) -> None:
    message = refused("run", "train-classifier", *_set(data="good.csv"), root=root)
    assert f"Cannot write to the root {place / root}" in message
    assert "--root" in message


def test_a_root_that_the_local_runner_would_mangle_is_refused(refused: Callable[..., str]) -> None:
    message = refused("run", "train-classifier", *_set(data="good.csv"), root="python3.12/root")
    assert '"python3" in its path' in message
    assert "Choose another with --root" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "train-clasifier"], "No pipeline 'train-clasifier'. Did you mean 'train-classifier'"),
        (["run", "train_classifier"], "Did you mean 'train-classifier'"),
        (["run"], "Missing argument 'pipeline'. See tunelane --help"),
        (["rnu"], "No such command 'rnu'. Did you mean 'run'"),
        (["samples", "fetch", "minilmm"], "No sample 'minilmm'. Did you mean 'minilm'"),
        (["serve", "--port", "http"], "'--port'"),
        (["serve", "--package", "nowhere"], "nowhere is not a directory; pass one to --package"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_in_a_command_is_one_line(arguments: list[str], words: str, refused: Callable[..., str]) -> None:
    assert words in refused(*arguments, root=None)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "No value for checkpoint. Pass --set checkpoint="),
        ({"checkpoint": "nowhere.pt"}, "No such file or directory: nowhere.pt"),
        ({"checkpoint": "folder"}, "folder holds no config.json"),
        ({"checkpoint": "notes.pt"}, "--set base_model="),
        ({"checkpoint": "notes.pt", "base_model": "folder", "taxonomy": "ac.yaml"}, "notes.pt cannot be read"),
    ],
    ids=lambda value: ",".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
def test_a_checkpoint_that_is_none_is_named(values: dict[str, str], words: str, refused: Callable[..., str]) -> None:
    message = refused("run", "convert", *_set(data="good.csv", **values))
    assert re.search(words, message), message
