"""Parameters for a cluster: what only this machine has is refused, with a word on what to use."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_pipelines.settings import Settings
from tunelane_pipelines.submitting.parameters import cluster_parameters
from tunelane_serving.errors import InputError

Assigned = Callable[..., list[str]]


def test_every_parameter_has_a_value_and_the_pipeline_s_own_base_model(settings: Settings, assigned: Assigned) -> None:
    found = cluster_parameters("train-classifier", config="", assignments=assigned(rows="10"), settings=settings)
    assert (found["data"], found["rows"], found["epochs"]) == ("gs://bucket/rows.csv", 10, 2)
    assert found["base_model"] == "sentence-transformers/all-MiniLM-L6-v2", "not the settings' sample"


def test_settings_are_outranked_by_the_config_and_that_by_assignments(
    settings: Settings, assigned: Assigned, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"registry_uri": "gs://one/registry"})
    (tmp_path / "run.yaml").write_text("rows: 5\nepochs: 3\n")
    assignments = assigned(registry_uri=None, rows="7")
    found = cluster_parameters("train-classifier", config="run.yaml", assignments=assignments, settings=settings)
    assert (found["registry_uri"], found["rows"], found["epochs"]) == ("gs://one/registry", 7, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "/data/rows.csv"}, r"data is a path on this machine .*gcloud storage cp.*--set data=gs://BUCKET/PATH"),
        ({"data": "rows.csv"}, r"data is a path on this machine"),
        ({"data": "file:///data/rows.csv"}, r"data is a path on this machine"),
        ({"test_data": "~/rows.csv"}, r"test_data is a path"),
        ({"taxonomy": "labels.yaml"}, r"taxonomy is a path"),
        ({"upload_root": "copies"}, r"upload_root is a path"),
        ({"base_model": "./minilm"}, r"base_model is a path"),
        ({"base_model": "/models/minilm"}, r"base_model is a path"),
        ({"base_model": "here"}, r"base_model is a path"),
        ({"base_model": "sample://minilm"}, r"base_model is a sample .*tunelane samples fetch minilm.*gs://BUCKET"),
        ({"data": "sample://sentiment"}, r"data is a sample"),
        ({"registry_uri": None}, r"registry sqlite:.* is none that a cluster reaches.*--set registry_uri=gs://BUCKET/PATH"),
        ({"registry_uri": "gs://"}, r"'gs://' is not a folder in a bucket\. Pass gs://BUCKET/PATH\."),
        ({"deployment_uri": "gs://UPPER/x"}, r"is not a folder in a bucket"),
        ({"registry_uri": "file:///data/mlruns"}, r"is none that a cluster reaches"),
        ({"registry_uri": "./mlruns"}, r"is none that a cluster reaches"),
        ({"registry_uri": "https://mlflow.example.org"}, r"is none that a cluster reaches"),
        ({"registry_uri": "postgresql://u:pa55@db/mlflow"}, r"postgresql://u:\*\*\*@db/mlflow is none that a cluster"),
        ({"deployment_uri": None}, r"deployment local:.* is none that a cluster.*--set deployment_uri=gs://BUCKET/PATH"),
        ({"deployment_uri": "local:/data/deployments"}, r"is none that a cluster reaches"),
        ({"data": "https://u:pa55@host/rows.csv"}, r"data has a password in it \(https://u:\*\*\*@"),
        ({"data": "https://host/rows.csv?token=pa55"}, r"data has a password in it \(https://host/rows.csv\?token=\*\*\*"),
        ({"minimum_f1": "1.5"}, r"minimum_f1|macro-F1"),
        ({"rows": "many"}, r"'rows' wants a whole number"),
        ({"rowz": "1"}, r"No parameter 'rowz'. Did you mean 'rows'"),
        ({"data": None}, r"No value for data"),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_cluster_cannot_use_is_refused(
    changes: dict[str, str | None], words: str, settings: Settings, assigned: Assigned, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError, match=words) as caught:
        cluster_parameters("train-classifier", config="", assignments=assigned(**changes), settings=settings)
    assert "pa55" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "s3://bucket/*.csv"},
        {"base_model": "gs://bucket/model"},
        {"base_model": "microsoft/mpnet-base"},
        {"text_field": "note/body"},
        {"registry_uri": "gs://models/registry", "deployment_uri": "gs://models/deployments"},
        {"registry_uri": "projects/p/secrets/registry/versions/1"},
    ],
    ids=str,
)
def test_what_a_cluster_reaches_is_passed_on(
    changes: dict[str, str | None], settings: Settings, assigned: Assigned
) -> None:
    found = cluster_parameters("train-classifier", config="", assignments=assigned(**changes), settings=settings)
    assert changes.items() <= found.items()


def test_a_conversion_needs_neither_registry_nor_deployment(settings: Settings) -> None:
    assignments = ["checkpoint=gs://bucket/model", "data=gs://bucket/rows.csv"]
    found = cluster_parameters("convert", config="", assignments=assignments, settings=settings)
    assert found["checkpoint"] == "gs://bucket/model"
    with pytest.raises(InputError, match="checkpoint is a path on this machine"):
        cluster_parameters("convert", config="", assignments=["checkpoint=m.pt", "data=gs://b/x"], settings=settings)
