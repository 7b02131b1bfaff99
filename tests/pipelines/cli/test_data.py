"""`tunelane data`: build, report, validate and split-check, as they are typed."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Tunelane = Callable[..., "subprocess.CompletedProcess[str]"]
Here = Callable[..., tuple[int, str, str]]

_ROOT = Path(__file__).parents[3]
_TOPICS = ("billing", "delivery", "praise")


def _text(number: int) -> str:
    """A text that is nothing like that of another number."""
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def tickets(place: Path) -> Path:
    """120 tickets under three topics, one without a text."""
    rows = [f"{_text(number)},{_TOPICS[number % 3]}" for number in range(119)]
    path = place / "tickets.csv"
    path.write_text("\n".join(["body,topic", *rows, ",praise"]) + "\n")
    return path


@pytest.fixture
def dataset(tickets: Path, here: Here, place: Path) -> Path:
    """The tickets' dataset, at `dataset`."""
    code, _, said = here("data", "build", "tickets.csv", "--set", "text_field=body", "--set", "label_field=topic")
    assert (code, said) == (0, "")
    return place / "dataset"


@pytest.fixture
def samples(place: Path) -> Path:
    """The repository's samples, at the paths that their configs name."""
    shutil.copytree(_ROOT / "tests" / "data", place / "tests" / "data")
    return place / "tests" / "data"


def _table(said: str) -> dict[str, str]:
    """The rows of a closing table that have a name."""
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in said.splitlines() if re.match(r"\S+\s{2,}\S", line))


@pytest.mark.usefixtures("tickets")
def test_a_build_says_what_became_of_the_rows_and_what_to_type_next(tunelane: Tunelane, place: Path) -> None:
    finished = tunelane("data", "build", "tickets.csv", "--set", "text_field=body", "--set", "label_field=topic")
    assert (finished.returncode, finished.stderr) == (0, "")
    table = _table(finished.stdout)
    assert table["Read"] == "120 rows of tickets.csv"
    assert "119 kept" in table["Rows"]
    assert sum(map(int, re.findall(r"\d+", table["Splits"]))) == 119
    assert table["Quarantined"] == "empty_text 1"
    assert table["Dataset"] == "dataset"
    assert table["Digest"] == json.loads((place / "dataset" / "dataset.json").read_bytes())["digest"]
    assert (place / table["Report"]).read_text().startswith("<!doctype html>")
    following = tunelane(*table["Next"].split()[1:])
    assert (following.returncode, following.stderr) == (0, "")


def test_the_same_again_has_nothing_to_do(dataset: Path, here: Here) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.iterdir()}
    arguments = ["data", "build", "tickets.csv", "--set", "text_field=body", "--set", "label_field=topic"]
    code, said, _ = here(*arguments)
    assert code == 0
    assert said.startswith("Nothing to do: dataset holds this dataset already")
    assert _table(said)["Read"] == "120 rows of tickets.csv"
    assert {path: path.stat().st_mtime_ns for path in dataset.iterdir()} == before
    code, said, _ = here(*arguments, "--set", "test_fraction=0.2")
    assert (code, said.startswith("Read")) == (0, True)


@pytest.mark.parametrize(
    ("data", "config", "rows", "fates"),
    [
        (
            "childcare/observations-2024.csv",
            "childcare/csv.yaml",
            30,
            ["26 kept", "1 merged", "1 dropped", "2 quarant"],
        ),
        ("childcare/observations-2025.jsonl", "childcare/jsonl.yaml", 28, ["26 kept", "2 quarantined"]),
        ("journal/entries.jsonl", "journal/journal.yaml", 70, ["70 kept"]),
    ],
)
@pytest.mark.usefixtures("samples")
def test_the_samples_build_from_their_configs(
    data: str, config: str, rows: int, fates: list[str], here: Here, place: Path
) -> None:
    code, said, error = here("data", "build", f"tests/data/{data}", "--config", f"tests/data/{config}")
    assert (code, error) == (0, "")
    assert _table(said)["Read"] == f"{rows} rows of {Path(data).name}"
    assert all(fate in said for fate in fates), said


@pytest.mark.usefixtures("samples")
def test_set_outranks_the_config(here: Here, place: Path) -> None:
    taxonomy = (place / "tests/data/childcare/taxonomy.yaml").read_text().replace("[talking]", "[talking, speeking]")
    (place / "domains.yaml").write_text(taxonomy)
    build = ["data", "build", "tests/data/childcare/observations-2024.csv", "--config", "tests/data/childcare/csv.yaml"]
    assert _table(here(*build)[1])["Quarantined"] == "empty_text 1, unknown_label 1"
    assert _table(here(*build, "--set", "taxonomy=domains.yaml")[1])["Quarantined"] == "empty_text 1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "No value for data. Pass --set data=VALUE, or write it into the config file."),
        (["nowhere.csv"], "No such file or directory: nowhere.csv"),
        (["tickets.csv"], "No column 'text' in tickets.csv. Pass --set text_field=NAME; the file has: body, topic."),
        (["tickets.csv", "--set", "txet_field=body"], "No parameter 'txet_field'. Did you mean 'text_field'?"),
        (["tickets.csv", "--set", "rows=many"], "Parameter 'rows' wants a whole number"),
        (["tickets.csv", "--config", "nowhere.yaml"], "No such config: nowhere.yaml"),
        (["tickets.csv", "--runner", "baem"], "No runner 'baem'. Did you mean 'beam'?"),
        (["tickets.csv", "--output", "."], ". holds something that is no dataset. Name another directory"),
        (["tickets.csv", "--output", "tickets.csv"], "tickets.csv is a file. Name a directory with --output."),
        (["sample://nothing"], "No sample 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("tickets")
def test_a_slip_is_one_line_and_nothing_is_written(arguments: list[str], words: str, here: Here, place: Path) -> None:
    code, said, error = here("data", "build", *arguments)
    assert (code, said, len(error.splitlines())) == (2, "", 1), error
    assert words in error
    assert [path.name for path in place.iterdir()] == ["tickets.csv"]


def test_too_many_bad_rows_stop_and_name_the_reasons(here: Here, place: Path) -> None:
    rows = [f"{_text(number) if number % 4 else ''},{_TOPICS[number % 3]}" for number in range(100)]
    (place / "bad.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    code, said, error = here("data", "build", "bad.csv")
    assert (code, said, len(error.splitlines())) == (2, "", 1)
    assert "25 of 100 rows cannot be used (25%; max_rejected_fraction=0.1): 25 have no text (bad.csv:2: " in error
    assert not (place / "dataset").exists()


def test_an_interrupted_build_ends_at_once_without_a_word_and_leaves_nothing(place: Path) -> None:
    # So large that worker processes are at it when Ctrl-C comes, which a terminal sends to them, too.
    with (place / "large.csv").open("w") as stream:
        stream.write("text,label\n")
        stream.writelines(f"{_text(number)} {_text(-number)},{_TOPICS[number % 3]}\n" for number in range(150_000))
    command = [sys.executable, "-m", "tunelane_pipelines.cli", "data", "build", "large.csv"]
    process = subprocess.Popen(
        command,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background are deaf to Ctrl-C, and what they start would be, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not list(place.glob(".dataset.*/*/spill/*")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said, error = process.communicate(timeout=30)
    assert (process.returncode, said, error) == (130, "", "")
    assert [path.name for path in place.iterdir()] == ["large.csv"]


def test_a_dataset_is_not_replaced_by_what_is_read_from_it(dataset: Path, here: Here) -> None:
    code, _, error = here("data", "build", "dataset/train.jsonl", "--set", "label_field=labels")
    assert code == 2
    assert "dataset/train.jsonl lies in dataset, which would be replaced." in error
    assert (dataset / "train.jsonl").is_file()


def test_the_report_is_written_anew_from_what_the_dataset_says(dataset: Path, here: Here, place: Path) -> None:
    page = (dataset / "dataset.html").read_text()
    (dataset / "dataset.html").unlink()
    assert here("data", "report", "dataset") == (0, "dataset/dataset.html\n", "")
    assert (dataset / "dataset.html").read_text() == page
    assert here("data", "report", "dataset", "--output", "pages/tickets.html") == (0, "pages/tickets.html\n", "")
    assert (place / "pages" / "tickets.html").read_text() == page


def test_a_report_of_what_is_no_dataset_says_so(dataset: Path, here: Here, place: Path) -> None:
    code, said, error = here("data", "report", "nowhere")
    assert (code, said) == (2, "")
    assert error.startswith("tunelane: nowhere is no dataset: it has no dataset.json.")
    code, _, error = here("data", "report", "dataset", "--output", "dataset")
    assert code == 2
    assert "Cannot write dataset: Is a directory. Name another file with --output." in error
    (dataset / "dataset.json").write_text('{"digest": 3}')
    code, _, error = here("data", "report", "dataset")
    assert (code, len(error.splitlines())) == (1, 1)
    assert "dataset.json" in error


def test_a_clean_file_has_no_faults(dataset: Path, here: Here) -> None:
    assert here("data", "validate", "dataset/train.jsonl") == (0, "dataset/train.jsonl: no faults\n", "")
    taxonomy = ["--taxonomy", "dataset/taxonomy.json", "--form", "classification"]
    assert here("data", "validate", "dataset/valid.jsonl", *taxonomy)[0] == 0


def test_every_fault_is_named_with_its_line_and_all_are_counted(here: Here, place: Path) -> None:
    (place / "labels.yaml").write_text("labels: [billing, praise]")
    rows = [
        '{"id":"1","text":"One","labels":["biling"]}',
        "not json",
        '{"id":"2","text":"Two","labels":["praise"]}',
        '{"id":"2","text":"Three","labels":["praise"]}',
        '{"id":"4","text":"","labels":[]}',
    ]
    (place / "rows.jsonl").write_text("\n".join(rows) + "\n")
    code, said, error = here("data", "validate", "rows.jsonl", "--taxonomy", "labels.yaml")
    assert (code, error) == (1, "")
    *faults, summary = said.splitlines()
    assert faults[0].startswith("rows.jsonl:1: unknown_label: label 'biling' is not in the taxonomy; the nearest is")
    assert [fault.split(": ")[:2] for fault in faults[1:]] == [
        ["rows.jsonl:2", "not_json"],
        ["rows.jsonl:5", "empty_field"],
        ["rows.jsonl:5", "missing_label"],
        ["rows.jsonl:4", "repeated_id"],
    ]
    assert summary.startswith("rows.jsonl: 5 faults: ")
    code, said, _ = here("data", "validate", "rows.jsonl", "--limit", "1")
    assert code == 1
    assert len(said.splitlines()) == 2
    assert said.splitlines()[1].endswith("; the first 1 are shown, --limit 4 shows all")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.jsonl"], "Cannot read nowhere.jsonl: No such file or directory."),
        (["dataset/train.jsonl", "--form", "gemni"], "Unknown form 'gemni'; the nearest is 'gemini'."),
        (["dataset/train.jsonl", "--taxonomy", "nowhere.yaml"], "Cannot read the taxonomy nowhere.yaml"),
        (["dataset/train.jsonl", "--limit", "0"], "Invalid value for '--limit'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("dataset")
def test_what_cannot_be_validated_is_one_line(arguments: list[str], words: str, here: Here) -> None:
    code, said, error = here("data", "validate", *arguments)
    assert (code, said, len(error.splitlines())) == (2, "", 1), error
    assert words in error


def test_the_splits_of_a_build_are_clean(dataset: Path, here: Here) -> None:
    code, said, error = here("data", "split-check", "dataset")
    assert (code, error) == (0, "")
    table = _table(said)
    assert re.fullmatch(r"train \d+ \(\d+\.\d %\), valid \d+ \(.* %\), test \d+ \(.* %\)", table["Rows"])
    assert table["Leaks"] == "none: no text and no id of one split stands in another, and none nearly (0.8)"


def test_a_leak_is_named_with_both_places(dataset: Path, here: Here) -> None:
    test_line = (dataset / "test.jsonl").read_text().splitlines()[0]
    row = json.loads(test_line)
    near = {**row, "id": "near", "text": f"{row['text']} and so on"}
    with (dataset / "train.jsonl").open("a") as stream:
        stream.write(f"{test_line}\n{json.dumps(near)}\n")
    lines = len((dataset / "train.jsonl").read_text().splitlines())
    code, said, error = here("data", "split-check", "dataset", "--threshold", "0.5")
    assert (code, error) == (1, "")
    original = f"dataset/test.jsonl:1 ({row['id']})"
    same_text, nearly, same_id = said.splitlines()[:3]
    assert same_text == f"dataset/train.jsonl:{lines - 1} ({row['id']}): the text of {original} again"
    assert same_id == f"dataset/train.jsonl:{lines - 1} ({row['id']}): the id of {original} again"
    words = rf"dataset/train\.jsonl:{lines} \(near\): nearly the text of a held-out row \(similarity 0\.\d\d\)"
    assert re.fullmatch(words, nearly)
    assert _table(said)["Leaks"] == "3: 1 of the same text, 1 of nearly the same text, 1 of the same id"
    # Without a search for near copies one less.
    code, said, _ = here("data", "split-check", "dataset", "--threshold", "0")
    assert code == 1
    assert _table(said)["Leaks"] == "2: 1 of the same text, 1 of the same id"


@pytest.mark.usefixtures("samples")
def test_labels_without_rows_in_a_split_are_named_and_no_leak(here: Here) -> None:
    build = ["data", "build", "tests/data/childcare/observations-2024.csv", "--config", "tests/data/childcare/csv.yaml"]
    here(*build, "--set", "formats=gemini")
    for directory in ("dataset", "dataset/gemini"):
        code, said, _ = here("data", "split-check", directory)
        assert code == 0
        assert re.search(r"^ {8}from test: \w.* and \d+ more$", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere is no dataset. Pass a directory with train.jsonl"),
        (["dataset", "--threshold", "1.5"], "--threshold 1.5: pass a similarity up to 1, or 0 for no search."),
    ],
)
@pytest.mark.usefixtures("dataset")
def test_what_has_no_splits_is_one_line(arguments: list[str], words: str, here: Here) -> None:
    code, said, error = here("data", "split-check", *arguments)
    assert (code, said, len(error.splitlines())) == (2, "", 1)
    assert words in error


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["build", "report", "validate", "split-check"]),
        (["build"], ["--output", "--config", "--set", "--runner", "--plain"]),
        (["report"], ["--output"]),
        (["validate"], ["--taxonomy", "--form", "--limit"]),
        (["split-check"], ["--threshold"]),
    ],
)
def test_every_command_explains_itself(command: list[str], words: list[str], here: Here) -> None:
    code, said, _ = here("data", *command, "--help")
    assert code == 0
    assert all(word in said for word in words)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["data", "b"], ["build"]),
        (["data", "build", "tickets.csv", "--set", "max_c"], ["max_characters="]),
        (["data", "build", "--set", "da"], ["data="]),
        (["data", "build", "tickets.csv", "--runner", ""], ["local", "beam"]),
        (["data", "build", "tickets.csv", "--config", "s"], ["sentiment"]),
        (["data", "validate", "rows.jsonl", "--form", "me"], ["messages"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_what_can_stand_there_is_offered(words: list[str], offered: list[str], place: Path) -> None:
    environment = {
        **os.environ,
        "_TUNELANE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["tunelane", *words]),
        "COMP_CWORD": str(len(words)),
    }
    command = [sys.executable, "-m", "tunelane_pipelines.cli"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place, env=environment)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.split() == offered
