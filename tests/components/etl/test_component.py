import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from kfp import compiler, dsl

from tunelane_components.etl import build
from tunelane_components.etl.component import build_dataset
from tunelane_components.etl.dataset import read_split, read_summary, read_taxonomy
from tunelane_components.etl.report import render
from tunelane_components.etl.statistics import read_statistics
from tunelane_serving.errors import InputError


@pytest.fixture
def artifacts(tmp_path: Path) -> tuple[dsl.Dataset, dsl.Metrics, dsl.HTML]:
    # kfp makes the directory of an output before the task starts.
    directory = tmp_path / "artifacts" / "dataset"
    directory.mkdir(parents=True)
    metrics, report = (tmp_path / "artifacts" / name for name in ("metrics", "report"))
    return dsl.Dataset(uri=str(directory)), dsl.Metrics(uri=str(metrics)), dsl.HTML(uri=str(report))


def test_the_component_writes_the_dataset_its_metadata_and_metrics(
    tickets: list[dict[str, Any]],
    write_jsonl: Callable[..., Path],
    artifacts: tuple[dsl.Dataset, dsl.Metrics, dsl.HTML],
) -> None:
    dataset, metrics, report = artifacts
    data = write_jsonl([*tickets, {"text": "", "label": "praise"}])
    build_dataset.python_func(
        str(data), dataset, metrics, report, id_field="key", rows=200, near_duplicate_threshold=0.0
    )
    summary = read_summary(Path(dataset.path))
    assert summary.rows_kept == 200
    assert Path(report.path).read_text(encoding="utf-8") == render(summary, read_statistics(Path(dataset.path)))
    assert dataset.metadata == {
        "digest": summary.digest,
        "taxonomy_digest": summary.taxonomy_digest,
        "rows": 200,
        "uploaded_to": "",
    }
    assert metrics.metadata == {
        "rows_read": 301,
        "rows_kept": 200,
        "rows_merged": 0,
        "rows_cut": 100,
        "rows_leaked": 0,
        "rows_near_duplicate": 0,
        "rows_over_cap": 0,
        "rows_quarantined": 1,
        "quarantined_empty_text": 1,
        **{f"rows_{split}": len(read_split(Path(dataset.path), split)) for split in ("train", "valid", "test")},
    }


def test_the_component_reads_remote_data_and_taxonomy(
    tickets: list[dict[str, Any]], artifacts: tuple[dsl.Dataset, dsl.Metrics, dsl.HTML]
) -> None:
    dataset, metrics, report = artifacts
    files = fsspec.filesystem("memory")
    files.pipe_file("/component/input.jsonl", "\n".join(map(json.dumps, tickets)).encode())
    files.pipe_file("/component/labels.yaml", b"labels: [praise, delivery, billing]")
    build_dataset.python_func(
        "memory://component/input.jsonl",
        dataset,
        metrics,
        report,
        taxonomy="memory://component/labels.yaml",
        near_duplicate_threshold=0.0,
    )
    summary = read_summary(Path(dataset.path))
    assert summary.data_file == "input.jsonl"
    assert read_taxonomy(Path(dataset.path)).names == ("praise", "delivery", "billing")


def test_the_component_names_what_is_missing(artifacts: tuple[dsl.Dataset, dsl.Metrics, dsl.HTML]) -> None:
    with pytest.raises(InputError, match=r"^No such file or directory: /no/rows\.csv\. Pass --set data="):
        build_dataset.python_func("/no/rows.csv", *artifacts)


def test_the_component_compiles_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "component.yaml"
    compiler.Compiler().compile(build_dataset, str(path))
    assert {"data", "taxonomy", "minimum_rows"} <= set(build_dataset.component_spec.inputs)
    assert "tunelane/trainer" in path.read_text()


def test_the_component_uploads_the_dataset_once(
    tickets: list[dict[str, Any]],
    write_jsonl: Callable[..., Path],
    artifacts: tuple[dsl.Dataset, dsl.Metrics, dsl.HTML],
    tmp_path: Path,
) -> None:
    dataset, metrics, report = artifacts
    data = str(write_jsonl(tickets))
    for _ in range(2):
        build_dataset.python_func(
            data, dataset, metrics, report, near_duplicate_threshold=0.0, upload_root=str(tmp_path / "bucket")
        )
    uploaded = [*(tmp_path / "bucket" / "training-data").iterdir()]
    assert [str(path) for path in uploaded] == [dataset.metadata["uploaded_to"]]
    assert uploaded[0].name.endswith(f"-{dataset.metadata['digest'][:12]}")
    assert read_split(uploaded[0], "test") == read_split(Path(dataset.path), "test")


def test_the_component_has_the_parameters_and_defaults_of_the_function() -> None:
    of_function = inspect.signature(build.build_dataset).parameters
    of_component = inspect.signature(build_dataset.python_func).parameters
    # The fingerprint only tells one cached result from another.
    shared = [name for name in of_component if name not in ("dataset", "metrics", "report", "data_fingerprint")]
    assert {name: of_component[name].default for name in shared} == {name: of_function[name].default for name in shared}
    # Where and with how many processes it runs is the platform's to say.
    assert of_function.keys() - set(shared) == {"output", "workers", "runner", "workspace", "progress"}
