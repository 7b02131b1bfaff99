"""`tunelane predict`: the answers that the server gives, and what it refuses."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_serving.deployment import ACTIVE
from tunelane_serving.models.loading import load_classifier
from tunelane_serving.package import MANIFEST, package_digest

Build = Callable[..., Path]
Tunelane = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def package(tiny_package: Build, place: Path) -> Path:
    return tiny_package(place / "package")


@pytest.fixture
def deployed(package: Path, deploy: Callable[..., Path]) -> Path:
    return deploy(package, "tickets", "7")


def test_in_a_pipe_the_answer_is_the_classifier_s_as_one_json_object(tunelane: Tunelane, deployed: Path) -> None:
    finished = tunelane("predict", "a good film")
    assert (finished.returncode, finished.stderr) == (0, "")
    expected = load_classifier(deployed, None).scores("a good film").tolist()
    assert json.loads(finished.stdout) == {
        "text": "a good film",
        "line": None,
        "id": None,
        "label": "positive",
        "labels": ["positive"],
        "confidence": expected[1],
        "scores": {"negative": expected[0], "positive": expected[1]},
        "model": "tickets",
        "model_version": "7",
        "digest": package_digest(deployed),
        "variant": "fp32",
    }


def test_a_multi_label_answer_may_choose_no_label(tunelane: Tunelane, tiny_package: Build, place: Path) -> None:
    tiny_package(place / "moods", labels=("calm", "sad", "angry"), task="multi_label")
    finished = tunelane("predict", "--package", "moods", "-", stdin="calm sad\nthe film\n")
    both, none = map(json.loads, finished.stdout.splitlines())
    assert (both["label"], both["labels"], both["model"], both["model_version"]) == (None, ["calm", "sad"], "moods", "")
    assert (none["label"], none["labels"]) == (None, [])
    assert none["confidence"] == max(none["scores"].values())


@pytest.mark.usefixtures("deployed")
def test_standard_input_is_answered_line_by_line(tunelane: Tunelane) -> None:
    finished = tunelane("predict", "-", stdin="\ufeffa good film\n\n  \nan awful film")
    answers = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [(answer["line"], answer["text"], answer["label"]) for answer in answers] == [
        (1, "a good film", "positive"),
        (4, "an awful film", "negative"),
    ]


@pytest.mark.usefixtures("deployed")
def test_a_file_is_answered_in_its_order_with_ids_and_lines(tunelane: Tunelane, place: Path) -> None:
    rows = [{"id": number, "body": f"{'good' if number % 3 else 'bad'} {number}"} for number in range(100)]
    rows[50]["body"] = " "
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    finished = tunelane("predict", "--file", "rows.jsonl", "--text-field", "body")
    answers = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [(answer["id"], answer["line"]) for answer in answers] == [
        (str(number), number + 1) for number in range(100) if number != 50
    ]
    assert {answer["label"] for answer in answers[0::3][:16]} == {"negative"}
    assert finished.stderr == "1 row has no text and got no answer.\n"


@pytest.mark.usefixtures("deployed")
def test_a_reader_that_goes_away_ends_it_quietly(place: Path) -> None:
    (place / "texts.txt").write_text("a good film\n" * 5000)
    script = f"{sys.executable} -m tunelane_pipelines.cli predict --file texts.txt | head -n 1"
    finished = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=place)
    assert json.loads(finished.stdout)["label"] == "positive"
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("no_color", [False, True])
def test_on_a_terminal_the_answer_is_for_people(deployed: Path, place: Path, no_color: bool) -> None:
    said = _on_a_terminal(["predict", "a good film"], place, **({"NO_COLOR": "1"} if no_color else {}))
    assert ("\x1b[32m" in said or "\x1b[1;32m" in said) is not no_color
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()]
    assert re.fullmatch(r"positive  0\.8\d\d", lines[0])
    assert re.fullmatch(r"positive █+\S? +0\.8\d\d", lines[1])
    assert re.fullmatch(r"negative █+\S? +0\.1\d\d", lines[2])
    assert lines[3] == f"tickets version 7 · fp32 · {package_digest(deployed)[:12]}"


@pytest.mark.usefixtures("deployed")
def test_on_a_narrow_terminal_labels_and_scores_are_whole(place: Path) -> None:
    said = _on_a_terminal(["predict", "a good film"], place, NO_COLOR="1", COLUMNS="30")
    lines = re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()
    assert re.fullmatch(r"positive █+\S? +0\.8\d\d", lines[1].rstrip())
    assert re.fullmatch(r"negative █+\S? +0\.1\d\d", lines[2].rstrip())


@pytest.mark.usefixtures("deployed")
def test_several_answers_on_a_terminal_fit_its_width(place: Path) -> None:
    (place / "texts.txt").write_text(f"bad [red]{' so' * 90}\nlove it\n")
    said = _on_a_terminal(["predict", "--file", "texts.txt"], place, NO_COLOR="1")
    lines = re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()
    assert [len(lines), max(map(len, lines))] == [2, 80]
    assert re.match(r" {4}1  \w+  0\.\d{3}  bad \[red\] so so", lines[0])


def _on_a_terminal(arguments: list[str], place: Path, **environment: str) -> str:
    """Run the command with a terminal of 80 columns, unless it is said, as its stdout; gives what was written there."""
    parent, child = pty.openpty()
    names = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    process = subprocess.Popen(
        [sys.executable, "-m", "tunelane_pipelines.cli", *arguments],
        stdin=subprocess.DEVNULL, stdout=child, cwd=place,
        env={**clean, "COLUMNS": "80", "TERM": "xterm-256color", **environment},
    )  # fmt: skip
    os.close(child)
    said = b""
    try:
        while chunk := os.read(parent, 4096):
            said += chunk
    except OSError:
        # The terminal is gone when its last writer is.
        pass
    os.close(parent)
    assert process.wait(timeout=30) == 0
    return said.decode()


_FILES: dict[str, bytes] = {
    "empty.txt": b" \n",
    "empty.csv": b"",
    "latin.txt": "good\ncaf\u00e9\n".encode("latin-1"),
    "latin.csv": "text\ncaf\u00e9\n".encode("latin-1"),
    "rows.csv": b"id,body\n1,good\n",
    "blank.csv": b"id,text\n1,\n",
    "quote.csv": b'text\n"never closed\n',
    "short.csv": b"id,text\n1,good\n2\n",
    "number.jsonl": b'{"text": "good"}\n{"text": 5}\n',
    "rows.parquet": b"PAR1",
}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "No text. Pass one .*, - to read standard input, or --file FILE"),
        (["good", "--file", "rows.csv"], "Pass a text or --file, not both"),
        ([""], "The text is empty. Pass one"),
        ([" \n"], "The text is empty"),
        (["caf\udce9"], "The text is not UTF-8. Let the terminal send UTF-8, or pass --file FILE"),
        (["-"], "Standard input holds no text. Pipe in one text a line"),
        (["--file", "nowhere.txt"], "Cannot read nowhere.txt: No such file or directory"),
        (["--file", "folder"], "folder is a directory. Pass one file: .txt, .csv"),
        (["--file", "rows.parquet"], "rows.parquet: unknown kind of file. Pass one that ends in .txt, .csv"),
        (["--file", "empty.txt"], "empty.txt is empty"),
        (["--file", "empty.csv"], "empty.csv is empty. Pass a file with texts"),
        (["--file", "latin.txt"], "latin.txt is not UTF-8: byte 0xe9 on line 2. Convert it: iconv"),
        (["--file", "latin.csv"], "latin.csv is not UTF-8: byte 0xe9 on line 2"),
        (["--file", "rows.csv"], "No column 'text' in rows.csv. Pass --text-field; the file has: id, body"),
        (["--file", "blank.csv"], "blank.csv has no text"),
        (["--file", "quote.csv"], "quote.csv:2: a quote is opened and never closed"),
        (["--file", "short.csv"], "short.csv:3: 1 fields where the header has 2. Correct the row"),
        (["--file", "number.jsonl"], "number.jsonl:2: field 'text' holds 5, not a text"),
        (["good", "--model", "tickts"], "No deployed model 'tickts'. Did you mean 'tickets'"),
        (["good", "--model", "../tickets"], "No deployed model '../tickets'"),
        (["good", "--model", "tickets", "--package", "package"], "Pass --model or --package, not both"),
        (["good", "--package", "nowhere"], "nowhere is not a directory; pass one to --package"),
        (["good", "--package", "folder"], "folder is not a model package: it has no manifest.json"),
        (["good", "--profile", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["good", "--root", "elsewhere"], "Nothing is deployed below .*elsewhere/deployments yet. Run: tunelane run"),
        (["a", "good", "film"], r"Got unexpected extra argument\(s\) \(good film\)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("deployed")
def test_a_slip_is_one_line(arguments: list[str], words: str, refused: Callable[..., str], place: Path) -> None:
    for name, content in _FILES.items():
        (place / name).write_bytes(content)
    (place / "folder").mkdir()
    message = refused("predict", *arguments)
    assert re.search(words, message), message
    assert not (place / "elsewhere").exists()


@pytest.mark.usefixtures("deployed")
def test_standard_input_that_is_not_utf8_is_named_where_it_is_met(tunelane: Tunelane) -> None:
    finished = tunelane("predict", "-", stdin="good\ncaf\u00e9\n".encode("latin-1"))
    assert finished.returncode == 2
    assert len(finished.stdout.splitlines()) == 1
    assert "standard input is not UTF-8: byte 0xe9 on line 2" in finished.stderr


def test_of_several_deployed_models_one_must_be_named_unless_it_has_the_default_name(
    tunelane: Tunelane, refused: Callable[..., str], package: Path, deploy: Callable[..., Path]
) -> None:
    deploy(package, "tickets")
    deploy(package, "moods")
    assert "Several models are deployed: moods, tickets. Name one with --model" in refused("predict", "good")
    deploy(package, "classifier")
    assert json.loads(tunelane("predict", "good").stdout)["model"] == "classifier"


@pytest.mark.parametrize("broken", ["graph", "manifest", "active", "revision"])
def test_what_is_damaged_is_one_line_and_exit_code_1(
    broken: str, tunelane: Tunelane, deployed: Path, damage: Callable[[Path], None]
) -> None:
    if broken == "graph":
        damage(deployed)
    elif broken == "manifest":
        content = (deployed / MANIFEST).read_bytes() + b"\n"
        (deployed / MANIFEST).unlink()
        (deployed / MANIFEST).write_bytes(content)
    elif broken == "active":
        (deployed.parents[1] / ACTIVE).write_text("{}")
    else:
        deployed.rename(deployed.with_name("moved"))
    finished = tunelane("predict", "good")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert len(finished.stderr.splitlines()) == 1
    words = {
        "graph": r"model\.onnx: digest is \w{12}, the manifest says \w{12}",
        "manifest": r"package digest is \w{12}, expected \w{12}",
        "active": r"active\.json: .*missing required field `model`",
        "revision": "not a model package",
    }
    assert re.search(words[broken], finished.stderr), finished.stderr


@pytest.mark.usefixtures("deployed")
def test_it_loads_no_registry_and_no_pipelines(place: Path) -> None:
    script = (
        "import sys; sys.argv = ['tunelane', 'predict', 'good']\n"
        "from tunelane_pipelines.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "print(*sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=place)
    loaded = set(finished.stdout.splitlines()[-1].split())
    assert "onnxruntime" in loaded
    assert not {"mlflow", "kfp", "torch", "sklearn", "uvicorn", "starlette", "rich.console", "fsspec"} & loaded
