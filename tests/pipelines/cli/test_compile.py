"""`tunelane compile` as a user types it: what it prints, how long it takes, and what it says to a slip."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_TRAINER = "tunelane/trainer:python3.11"
_PIPELINES = "tunelane/pipelines:python3.11"
_FILES = {
    "good.json": json.dumps({_TRAINER: "registry.example/trainer:1", _PIPELINES: "registry.example/pipelines:1"}),
    "broken.json": '{"a": \n',
    "list.json": "[]",
    "unknown.json": json.dumps({"tunelane/trainer:python3.12": "trainer:1", _PIPELINES: "pipelines:1"}),
    "lacking.json": json.dumps({_TRAINER: "registry.example/trainer:1"}),
    "spaces.json": json.dumps({_TRAINER: "my trainer", _PIPELINES: "pipelines:1"}),
    "number.json": json.dumps({_TRAINER: 3, _PIPELINES: "pipelines:1"}),
    "slow.yaml": "gcp: {boot_disk_type: pd-standard}",
    "taints.yaml": "kubeflow: {gpu_tolerations: [gpu]}",
    "empty.json": json.dumps({_TRAINER: "", _PIPELINES: "pipelines:1"}),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with every file that the cases name."""
    for name, content in _FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "latin.json").write_bytes('{"caf\u00e9": "a"}'.encode("latin-1"))
    return tmp_path


@pytest.fixture
def compile_(place: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `tunelane compile` with these arguments and an environment without anything."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tunelane_pipelines.cli", "compile", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=place, env={})

    return run


def _computed_s() -> float:
    """Processor time of the processes that this one has waited for; what others do meanwhile does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_everything_for_both_targets_is_written_with_not_much_more_computing_than_the_imports_take(
    compile_: Callable[..., subprocess.CompletedProcess[str]], place: Path
) -> None:
    began_s = _computed_s()
    subprocess.run([sys.executable, "-c", "import kfp.compiler, google_cloud_pipeline_components"], check=True)
    imported_s = _computed_s()
    finished = compile_("--output", "out")
    # About twice as much where this was written. The machine's own speed is in both.
    assert _computed_s() - imported_s < 6 * (imported_s - began_s)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert lines[:7] == [
        "out/kubeflow/pipelines/convert.yaml",
        "out/kubeflow/pipelines/train-classifier.yaml",
        "out/vertex/pipelines/convert.yaml",
        "out/vertex/pipelines/train-classifier.yaml",
        "out/kubeflow/components/ (14 components)",
        "out/vertex/components/ (14 components)",
        "Images have their logical names; a cluster needs --images.",
    ]
    assert all((place / line).is_file() for line in lines[:4])
    assert [line.split()[0] for line in lines if "boot disk" in line] == ["kubeflow", "vertex"]


def test_options_reach_the_files(compile_: Callable[..., subprocess.CompletedProcess[str]], place: Path) -> None:
    finished = compile_(
        "train-classifier", "--target", "vertex", "--gpu", "a100", "--images", "good.json", "--output", "out"
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[:3] == [
        "out/vertex/pipelines/train-classifier.yaml",
        "out/vertex/components/ (14 components)",
        "",
    ]
    written = (place / "out" / "vertex" / "pipelines" / "train-classifier.yaml").read_text()
    assert "NVIDIA_TESLA_A100" in written
    assert "image: registry.example/trainer:1" in written
    assert _TRAINER not in written


def test_a_profile_reaches_the_files_and_the_table_shows_what_each_task_gets(
    compile_: Callable[..., subprocess.CompletedProcess[str]], place: Path
) -> None:
    (place / "prod.yaml").write_text(
        "images: good.json\ngcp: {spot: true, boot_disk_gb: 250, training_replicas: 2}\n"
        "kubeflow: {volumes: {/cache: models}}\n"
    )
    finished = compile_("train-classifier", "--profile", "prod.yaml", "--output", "out")
    assert finished.returncode == 0, finished.stderr
    assert "logical names" not in finished.stdout
    table = [line.split("  ") for line in finished.stdout.partition("\nvertex")[2].splitlines()]
    rows = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in table if line[0]}
    assert rows["train-lora"] == ["2 x g2-standard-8, spot", "1 NVIDIA_L4", "250 GB pd-ssd", "24 h", "1"]
    assert rows["build-dataset"] == ["4 CPU, 16 GB", "-", "-", "2 h", "2"]
    assert rows["report-verdict"] == ["1 CPU, 4 GB", "-", "-", "10 min", "0"]
    assert "6 CPU, 24 GB  1 nvidia.com/gpu" in finished.stdout
    assert "models" in (place / "out" / "kubeflow" / "pipelines" / "train-classifier.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train-clasifier"], "No pipeline 'train-clasifier'. Did you mean 'train-classifier'?"),
        (["train_classifier"], "Did you mean 'train-classifier'?"),
        (["--target", "vertx"], "No target 'vertx'. Did you mean 'vertex'?"),
        (["--target", "cloud"], "No target 'cloud'. There are: kubeflow, vertex."),
        (["--gpu", "h100"], "No GPU 'h100'. Did you mean 'a100'?"),
        (["--gpu", "tpu"], "No GPU 'tpu'. There are: a100, l4, none."),
        (["--gpu", ""], "No GPU ''. There are: a100, l4, none."),
        (
            ["--images", "nowhere.json"],
            "nowhere.json: No such file or directory. Pass the path of a JSON file to --ima",
        ),
        (["--images", "broken.json"], "broken.json:2: "),
        (["--images", "latin.json"], "latin.json: not UTF-8 at byte 5. Save it as UTF-8."),
        (["--images", "list.json"], 'list.json: not a mapping of image names. Write {"tunelane/'),
        (
            ["--images", "unknown.json"],
            "unknown.json: No image 'tunelane/trainer:python3.12'. Did you mean 'tunelane/tr",
        ),
        (["--images", "lacking.json"], f"lacking.json: nothing for {_PIPELINES}. Add it"),
        (["--images", "spaces.json"], f"spaces.json: {_TRAINER}: 'my trainer' is no image reference. Write REGISTRY/"),
        (["--images", "empty.json"], f"empty.json: {_TRAINER}: '' is no image reference."),
        (["--images", "number.json"], f"number.json: {_TRAINER}: 3 is no image reference."),
        (["--profile", "slow.yaml"], "g2-standard-8 does not boot from pd-standard. Set gcp.boot_disk_type to pd-ssd."),
        (["--profile", "taints.yaml"], "kubeflow.gpu_tolerations: 'gpu' is not of its form."),
        (["--traget", "vertex"], "No such option: --traget"),
    ],
    ids=" ".join,
)
def test_a_slip_is_one_line_and_nothing_is_written(
    arguments: list[str],
    words: str,
    compile_: Callable[..., subprocess.CompletedProcess[str]],
    place: Path,
) -> None:
    finished = compile_(*arguments, "--output", "out")
    assert finished.returncode == 2, finished.stdout + finished.stderr
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert words in finished.stderr
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '--output'"),
        (["--output", "good.json"], "good.json is a file. Pass a directory to --output."),
        (["--output", "good.json/out"], "Cannot write to good.json/out: Not a directory. Pass another directory"),
        (["--output", "x" * 300], "File name too long. Pass another directory to --output."),
        (["--output", "/proc/nowhere"], "Cannot write to /proc/nowhere: No such file or directory. Pass another"),
    ],
    ids=" ".join,
)
def test_an_output_that_cannot_be_written_is_named(
    arguments: list[str], words: str, compile_: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    finished = compile_(*arguments)
    assert finished.returncode == 2, finished.stdout + finished.stderr
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert words in finished.stderr


def test_a_failed_write_leaves_the_old_file_whole(
    compile_: Callable[..., subprocess.CompletedProcess[str]], place: Path
) -> None:
    assert compile_("convert", "--target", "vertex", "--output", "out").returncode == 0
    path = place / "out" / "vertex" / "pipelines" / "convert.yaml"
    before = path.read_bytes()
    (place / "out" / "kubeflow").write_text("in the way")
    assert compile_("convert", "--output", "out", "--gpu", "none").returncode == 2
    assert path.read_bytes() == before
    assert [entry.name for entry in (place / "out").iterdir() if entry.name.startswith(".")] == []
