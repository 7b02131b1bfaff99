"""The commands of Tunelane on docs/cloud.md, as they are written, against fakes, with the profiles of the page."""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.kubeflow.installation import FakeKubeflow
from tests.docs.pages import ROOT, blocks
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.cli import main as cli
from tunelane_pipelines.targets import clock

_PAGE = ROOT / "docs" / "cloud.md"
_VERTEX, _KUBEFLOW = [block.text for block in blocks(_PAGE) if block.language == "yaml"]
_ON_FAKES = [block for block in blocks(_PAGE) if "another test runs it on" in block.note]


def _commands(target: str) -> list[str]:
    on_kubeflow = [block for block in _ON_FAKES if block.note.endswith("on a fake")]
    chosen = on_kubeflow if target == "kubeflow" else [block for block in _ON_FAKES if block not in on_kubeflow]
    return [command for block in chosen for command in block.commands]


@pytest.fixture
def type_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Type a command in an empty directory with images and no settings; it must end well. Gives what it printed."""
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNELANE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "images.json").write_text(json.dumps({name: f"registry.example.org/{name}" for name in EXTRA_BY_IMAGE}))
    (tmp_path / "profiles").mkdir()

    def type_in(command: str) -> str:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        assert sys.argv[0] == "tunelane"
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        assert not caught.value.code, f"{command}\n{said.out}{said.err}"
        return said.out

    return type_in


def test_the_commands_for_vertex_run(
    bench: Bench, type_in: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "SystemClock", lambda: bench.clock)
    Path("profiles/prod.yaml").write_text(_VERTEX.replace("my-project", bench.project))
    bucket = f"{bench.project}-tunelane"
    bench.storage.add_bucket(bucket, bench.region)
    bench.storage.write(f"gs://{bucket}/held_out.csv", b"text,label\n")
    bench.quotas.limits["aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus", bench.region] = 1
    printed = {command: type_in(command.replace("my-project", bench.project)) for command in _commands("vertex")}
    request = json.loads(next(out for command, out in printed.items() if "--dry-run" in command))
    assert request["pipelineJob"]["runtimeConfig"]["parameterValues"]["rows"] == 500, "from the profile's data section"
    jobs = bench.vertex.jobs()
    assert sorted(job.labels["tunelane-pipeline"] for job in jobs) == ["convert", "train-classifier"]
    assert {job.labels["environment"] for job in jobs} == {"prod"}
    assert "succeeded" in printed["tunelane runs list --refresh --profile prod"]
    methods = [call.method for call in bench.calls]
    for verb in ("Create", "Pause", "Resume", "Delete"):
        assert methods.count(f"{verb}Schedule") == 1


def test_the_commands_for_kubeflow_run(type_in: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    from kfp import Client

    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(Path("context.json").absolute()))
    Path("kubeflow.token").write_text("right")
    with FakeKubeflow(namespaces=("ann",), token="right") as fake:  # noqa: S106 - it opens nothing
        monkeypatch.setattr(clock, "SystemClock", lambda: fake.clock)
        Path("profiles/kubeflow.yaml").write_text(_KUBEFLOW.replace("https://kubeflow.example.org/pipeline", fake.host))
        for command in _commands("kubeflow"):
            type_in(command)
        assert len(fake.runs) == 1


def test_the_readme_s_commands_print_what_it_says(
    bench: Bench, type_in: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "SystemClock", lambda: bench.clock)
    Path("profiles/prod.yaml").write_text(_VERTEX.replace("my-project", bench.project))
    bench.storage.add_bucket(f"{bench.project}-tunelane", bench.region)
    written = blocks(ROOT / "README.md")
    at = next(number for number, block in enumerate(written) if "another test runs it on fakes" in block.note)
    printed = "".join(map(type_in, written[at].commands)).replace(bench.project, "my-project")
    said = _without_what_differs(written[at + 1].text)
    assert set(said) <= set(_without_what_differs(printed))
    assert len(said) == 4


def _without_what_differs(text: str) -> list[str]:
    """Lines with 0 for every digit and run ids without their random end, their columns one blank apart."""
    plain = re.sub(r"(\d{8}-\d{6})-[0-9a-f]{4}", r"\1", text)
    return [" ".join(re.sub(r"\d+", "0", line).split()) for line in plain.splitlines()]


def test_every_such_block_is_one_of_tunelane_alone() -> None:
    assert len(_ON_FAKES) == 4
    assert all(command.startswith("tunelane ") for block in _ON_FAKES for command in block.commands)
