"""The report of a run: what it says of runs that ended well, badly or not yet, and how it looks in a browser."""

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tunelane_pipelines.report import write_report
from tunelane_pipelines.runs.record import REPORT, Artifact, RunRecord, read_record, write_record

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MakeRun = Callable[..., Any]
_HOSTILE = "<script>alert(1)</script>\"'& 🚀 שלום " + "long" * 60
_WITHOUT = ("kfp", "torch", "transformers", "sklearn", "mlflow", "numpy", "pandas", "rich", "typer")
_MEASURE = """
import sys, time
from pathlib import Path
from tunelane_pipelines.runs.record import read_record
directory = Path(sys.argv[1])
record = read_record(directory)
started_s = time.process_time()
from tunelane_pipelines.report.run_report import write_report
write_report(directory, record)
print(time.process_time() - started_s, *(name for name in sys.argv[2:] if name in sys.modules))
"""


class _Page(HTMLParser):
    """A document's text, tags, ids and links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self._said: list[str] = []
        self._is_hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._is_hidden = tag == "style"
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if "href" in found else []

    def handle_data(self, data: str) -> None:
        if not self._is_hidden:
            self._said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._said).split())


def _shown(run: Any) -> _Page:
    return _Page(write_report(run.directory, run.record).read_text(encoding="utf-8"))


def _fail(record: RunRecord, task_name: str, error: str) -> None:
    """End a record as the runner does when a task fails."""
    task = record.task(task_name)
    assert task is not None
    task.state, task.error, task.wall_s = "failed", error, 2.5
    record.finish("failed", f"{task_name}: {error}; its output is in run.log")


def test_a_finished_run_shows_verdict_figures_and_every_stage(make_run: MakeRun) -> None:
    run = make_run()
    page = _shown(run)
    gate = run.record.artifact("gate-model", "verdict")
    assert page.ids == ["summary", "tasks", "data", "training", "parity", "evaluation", "gate", "reproduce"]
    assert f"{run.record.decision.capitalize()} {gate.metadata['sentence']}" in page.text
    evaluated = run.record.task("evaluate-model").metrics
    assert f"Macro-F1 {evaluated['macro_f1']:.3f}" in page.text
    assert f"{evaluated['macro_f1_lower']:.3f} to {evaluated['macro_f1_upper']:.3f}" in page.text
    assert f"Floor {evaluated['floor_macro_f1']:.3f}" in page.text
    assert "Champion none yet" in page.text
    assert "Parity 98.0 % int8 labels as PyTorch's on 50 rows" in page.text
    assert "Graph 23.0 MB int8; fp32 90.9 MB" in page.text
    assert "took 2 min 38 s" in page.text


def test_every_task_is_listed_with_its_times_and_its_artifacts_digests(make_run: MakeRun) -> None:
    run = make_run()
    page = _shown(run)
    for task in run.record.tasks:
        assert task.display_name in page.text
        for artifact in task.artifacts:
            assert artifact.digest in page.text
            assert artifact.path in page.text
    assert "2.5 s own work 2.2 s" in page.text
    assert re.search(r"Report verdict . Skipped", page.text)


def test_every_link_of_the_contents_leads_somewhere(make_run: MakeRun) -> None:
    page = _shown(make_run())
    assert {link.removeprefix("#") for link in page.links} == set(page.ids)


def test_it_says_how_to_repeat_the_run(make_run: MakeRun) -> None:
    run = make_run()
    page = _shown(run)
    assert f"tunelane run train-classifier --config {run.directory}/parameters.yaml" in page.text
    assert "tunelane run train-classifier --config sentiment" in page.text
    for name, value in {"data": "/data/rows.csv", "rows": "0", "taxonomy": "(empty)", "quantize": "true"}.items():
        assert f"{name} {value}" in page.text
    assert "tunelane 0.1.0" in page.text
    assert "processor A processor" in page.text
    assert "Base model tiny-encoder" in page.text
    assert "In all 3.1 s" in page.text
    package = run.record.artifact("validate-parity", "package")
    assert f"Package {package.digest}" in page.text


def test_a_directory_with_a_space_is_quoted(make_run: MakeRun) -> None:
    run = make_run()
    directory = run.directory.rename(run.directory.parent / "my run")
    write_report(directory, run.record)
    assert f"--config '{directory}/parameters.yaml'" in _Page((directory / REPORT).read_text()).text


def test_a_failed_run_leads_with_the_error_its_task_and_the_log(make_run: MakeRun) -> None:
    run = make_run(upto=5)
    error = "int8 does not answer as PyTorch does: 93.2% of labels agree, 95.0% are needed."
    run.record.tasks[5].last_line = "int8: 27 of 400 labels flip"
    _fail(run.record, "validate-parity", error)
    page = _shown(run)
    assert f"✗ Failed Validate parity failed {error} The last that it said: int8: 27 of 400 labels flip" in page.text
    assert str(run.directory / "run.log") in page.text
    assert "run.log" in page.links
    html = (run.directory / REPORT).read_text(encoding="utf-8")
    assert html.index(error) < html.index('<section id="tasks">')
    assert page.ids == ["summary", "tasks", "data", "training", "reproduce"]


def test_a_run_that_failed_out_of_bounds_shows_what_was_compared(make_run: MakeRun) -> None:
    run = make_run()
    parity = run.record.task("validate-parity")
    parity.artifacts = tuple(artifact for artifact in parity.artifacts if artifact.name == "comparison")
    _fail(run.record, "validate-parity", "out of bounds")
    assert "parity" in _shown(run).ids


def test_a_run_that_failed_before_its_first_task_says_why(make_run: MakeRun) -> None:
    run = make_run(upto=0)
    run.record.finish("failed", "the run failed without a word that Tunelane knows; its output is in run.log")
    page = _shown(run)
    assert "the run failed without a word that Tunelane knows" in page.text
    assert page.ids == ["summary", "tasks", "reproduce"]


def test_an_interrupted_run_names_the_task_that_was_stopped(make_run: MakeRun) -> None:
    run = make_run(upto=3)
    run.record.tasks[3].state = "running"
    run.record.finish("interrupted", "Interrupted by SIGINT; the run's tasks were ended.")
    text = _shown(run).text
    assert "! Interrupted Fine-tune with LoRA was interrupted Interrupted by SIGINT" in text


def test_a_run_that_goes_on_shows_what_there_is(make_run: MakeRun) -> None:
    page = _shown(make_run(upto=1))
    assert "▸ Running Nothing was measured yet." in page.text
    assert "so far 2 min 38 s" in page.text
    assert page.ids == ["summary", "tasks", "reproduce"]


def test_a_rejected_challenger_is_no_failure(make_run: MakeRun) -> None:
    run = make_run()
    gate = run.record.task("gate-model")
    said = {"decision": "reject", "sentence": "It is not better. The champion stays."}
    gate.artifacts = tuple(msgspec.structs.replace(artifact, metadata=said) for artifact in gate.artifacts)
    text = _shown(run).text
    assert "✗ Reject It is not better. The champion stays." in text
    assert "failed" not in text.partition("Tasks")[0]


def test_a_champion_is_compared_with_its_interval(make_run: MakeRun) -> None:
    run = make_run()
    run.record.task("evaluate-model").metrics |= {
        "champion_macro_f1": 0.812,
        "champion_delta": 0.012,
        "champion_delta_lower": -0.003,
        "champion_delta_upper": 0.02,
    }
    assert "Champion 0.812 +1.2 points, -0.3 to +2.0" in _shown(run).text


def test_a_conversion_has_neither_gate_nor_verdict(make_run: MakeRun) -> None:
    run = make_run("convert")
    page = _shown(run)
    assert page.ids == ["summary", "tasks", "data", "parity", "reproduce"]
    assert "✓ Succeeded" in page.text


def test_a_checkpoint_from_elsewhere_has_its_section(make_run: MakeRun) -> None:
    run = make_run("convert")
    (run.directory / "artifacts" / "train-lora").rename(run.directory / "artifacts" / "import-checkpoint")
    model = Artifact("model", "Model", "artifacts/import-checkpoint/model", "a" * 64)
    run.record.task("import-checkpoint").artifacts = (model,)
    assert "training" in _shown(run).ids


@pytest.mark.parametrize("content", ["{broken", '{"version": 99}', None], ids=["broken", "newer", "gone"])
def test_a_part_that_cannot_be_read_says_so_and_the_rest_is_shown(make_run: MakeRun, content: str | None) -> None:
    run = make_run()
    for path in ("build-dataset/dataset/dataset.json", "evaluate-model/predictions/evaluation.json"):
        file = run.directory / "artifacts" / path
        file.unlink() if content is None else file.write_text(content)
    page = _shown(run)
    assert page.text.count("This part cannot be shown:") == 2
    assert page.ids == ["summary", "tasks", "data", "training", "parity", "evaluation", "gate", "reproduce"]


def test_an_old_run_without_the_comparison_shows_the_packages_own_report(make_run: MakeRun) -> None:
    run = make_run()
    parity = run.record.task("validate-parity")
    parity.artifacts = tuple(artifact for artifact in parity.artifacts if artifact.name == "package")
    page = _shown(run)
    assert "parity" in page.ids
    assert "This part cannot be shown" not in page.text


def test_an_artifact_that_was_never_written_has_no_section(make_run: MakeRun) -> None:
    run = make_run()
    task = run.record.task("build-dataset")
    task.artifacts = tuple(msgspec.structs.replace(artifact, digest="") for artifact in task.artifacts)
    assert "data" not in _shown(run).ids


def test_a_record_reads_the_same_after_it_was_written(make_run: MakeRun) -> None:
    run = make_run()
    write_record(run.directory, run.record)
    record = read_record(run.directory)
    first = write_report(run.directory, record).read_bytes()
    assert write_report(run.directory, read_record(run.directory)).read_bytes() == first


def test_hostile_texts_are_text(make_run: MakeRun, check_page: Callable[[str], None]) -> None:
    run = make_run(
        run_id=_HOSTILE, command=_HOSTILE, display_name=_HOSTILE, parameters={"model_name": _HOSTILE, _HOSTILE: 1}
    )
    run.record.versions, run.record.machine = {_HOSTILE: _HOSTILE}, {_HOSTILE: _HOSTILE}
    for task in run.record.tasks:
        task.display_name = task.branch = task.last_line = _HOSTILE
        task.outputs = {_HOSTILE: _HOSTILE}
    run.record.task("smoke-test").metrics = {_HOSTILE: _HOSTILE}
    run.record.tasks[-1].error = _HOSTILE
    run.record.state = "failed"
    run.record.tasks[-1].state = "failed"
    html = write_report(run.directory, run.record).read_text(encoding="utf-8")
    page = _Page(html)
    assert "script" not in page.tags
    assert page.text.count(" ".join(_HOSTILE.split())) > 20
    check_page(html)


def test_a_run_of_many_labels_and_slices_fits_a_phone(make_run: MakeRun, check_page: Callable[[str], None]) -> None:
    labels = tuple(f"label number {number} of many" for number in range(28))
    run = make_run(labels=labels, sources=tuple(f"source-{number}" for number in range(12)))
    html = write_report(run.directory, run.record).read_text(encoding="utf-8")
    page = _Page(html)
    assert all(label in page.text for label in labels)
    assert "This part cannot be shown" not in page.text
    check_page(html)


@pytest.mark.parametrize("pipeline", ["train-classifier", "convert"])
def test_a_browser_shows_it_in_every_width_and_scheme(
    make_run: MakeRun, check_page: Callable[[str], None], pipeline: str
) -> None:
    run = make_run(pipeline)
    check_page(write_report(run.directory, run.record).read_text(encoding="utf-8"))


def test_a_failed_run_fits_too(make_run: MakeRun, check_page: Callable[[str], None]) -> None:
    run = make_run(upto=5)
    _fail(run.record, "validate-parity", "labels do not agree " * 30)
    check_page(write_report(run.directory, run.record).read_text(encoding="utf-8"))


def test_the_file_asks_for_nothing_but_itself(make_run: MakeRun, browser: "Browser") -> None:
    run = make_run()
    path = write_report(run.directory, run.record)
    page = browser.new_page()
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))
    page.goto(path.as_uri())
    shown = page.locator("body").inner_text()
    assert all(task.display_name in shown for task in run.record.tasks)
    assert asked_for == [path.as_uri()]
    page.close()


def test_the_drawing_does_not_change_the_page_around_it(make_run: MakeRun, browser: "Browser") -> None:
    run = make_run()
    page = browser.new_page()
    page.set_content(write_report(run.directory, run.record).read_text(encoding="utf-8"))
    read = """() => [...document.querySelectorAll("section svg:not(.tunelane-dag) *, h3, p")].map((element) => {
        const {fill, font} = getComputedStyle(element);
        return `${fill} ${font}`;
    })"""
    before = page.evaluate(read)
    page.evaluate("document.querySelector('.tunelane-dag style').remove()")
    assert page.evaluate(read) == before
    assert len(before) > 50
    page.close()


def test_it_is_printed_on_white_without_the_contents(make_run: MakeRun, browser: "Browser") -> None:
    run = make_run()
    page = browser.new_page(color_scheme="dark")
    page.set_content(write_report(run.directory, run.record).read_text(encoding="utf-8"))
    page.emulate_media(media="print")
    assert not page.locator(".contents").is_visible()
    ink = page.evaluate("getComputedStyle(document.querySelector('.tunelane-dag .dag-task text')).fill")
    assert ink == "rgb(26, 29, 35)"
    page.close()


def test_it_is_written_quickly_and_without_heavy_libraries(make_run: MakeRun) -> None:
    run = make_run()
    write_record(run.directory, run.record)
    command = [sys.executable, "-c", _MEASURE, str(run.directory), *_WITHOUT]
    cpu_s, *loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert loaded == []
    # Some 0.2 s by itself; a busy machine takes longer.
    assert float(cpu_s) < 1


def test_it_carries_no_password(make_run: MakeRun) -> None:
    # Records are masked when they are made; the parameters' file, which the report names, is not.
    run = make_run(parameters={"registry_uri": "postgresql://me:***@host/db"})
    (run.directory / "parameters.yaml").write_text("registry_uri: postgresql://me:hunter2@host/db\n")
    assert "hunter2" not in write_report(run.directory, run.record).read_text()
    assert re.search(r"postgresql://me:\*\*\*@host/db", write_report(run.directory, run.record).read_text())
