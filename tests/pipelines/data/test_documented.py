"""The pieces of docs/data.md that a reader copies: mappings, the prompt template, the transformer."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import ROOT, Block, blocks
from tunelane_components.etl.renderers.prompts import load_prompt
from tunelane_components.etl.taxonomy import load_taxonomy

_BLOCKS = blocks(ROOT / "docs" / "data.md")
_SAMPLES = ROOT / "tests" / "data" / "childcare"


def _block(language: str, start: str) -> Block:
    (found,) = [block for block in _BLOCKS if block.language == language and block.text.startswith(start)]
    return found


@pytest.mark.parametrize("config", ["csv.yaml", "jsonl.yaml"])
def test_the_mappings_on_the_page_are_those_of_the_samples(config: str) -> None:
    used = yaml.safe_load((_SAMPLES / config).read_text())
    shown = [yaml.safe_load(block.text) for block in _BLOCKS if block.language == "yaml"]
    (same,) = [mapping for mapping in shown if mapping.get("text_field") == used["text_field"]]
    assert same.items() <= used.items()
    assert used.keys() - same.keys() == {"minimum_rows", "valid_fraction", "test_fraction"}


def test_the_taxonomy_on_the_page_is_a_part_of_the_sample_s(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.yaml"
    path.write_text(_block("yaml", "labels:").text)
    labels = {label.name: label for label in load_taxonomy(_SAMPLES / "taxonomy.yaml").labels}
    assert all(labels[label.name] == label for label in load_taxonomy(path).labels)


def test_the_prompt_template_on_the_page_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "prompt.jinja"
    path.write_text(_block("text", "{% block system %}").text)
    load_prompt(path)


def _install(place: Path) -> None:
    """Put the page's package where Python finds it, as pip does: its module, and the names that it registers."""
    project = tomllib.loads(_block("toml", "[project]").text)["project"]
    (place / "daybook.py").write_text(_block("python", '"""Reads a daybook').text)
    info = place / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    names = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(names))


def test_the_transformer_on_the_page_reads_the_daybook_on_the_page(tmp_path: Path) -> None:
    installed, place = tmp_path / "installed", tmp_path / "place"
    installed.mkdir()
    place.mkdir()
    _install(installed)
    (place / "daybook.txt").write_text(_block("text", "## 2025").text)
    options = ["source_format=daybook", "multi_label=true", "minimum_rows=0"]
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "tunelane_pipelines.cli", "data", "build", "daybook.txt"),
            *(part for option in options for part in ("--set", option)),
        ],
        cwd=place,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    lines = [
        line for split in ("train", "valid", "test") for line in (place / f"dataset/{split}.jsonl").open().readlines()
    ]
    records = sorted((json.loads(line) for line in lines), key=lambda record: record["id"])
    assert [(record["id"], record["labels"], record["meta"]) for record in records] == [
        ("2025-03-04 Owls", ["art", "nature"], {"date": "2025-03-04", "source": "Owls"}),
        ("2025-03-05 Wrens", ["large movements"], {"date": "2025-03-05", "source": "Wrens"}),
    ]
    assert records[0]["text"] == "Pressed painted leaves on paper and named each print after its tree."
