"""Parameters of a run on this machine: where they come from, and what is refused before anything runs."""

from pathlib import Path

import pytest

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE
from tunelane_pipelines.local import parameters as parameters_module
from tunelane_pipelines.local.configs import config_path, shipped_configs
from tunelane_pipelines.local.parameters import local_parameters
from tunelane_pipelines.parameters import check_parameters, read_config
from tunelane_pipelines.settings import Settings, load_settings
from tunelane_pipelines.train_classifier import train_classifier
from tunelane_serving.errors import InputError

_CONFIGS = Path(local_parameters.__code__.co_filename).parents[1] / "configs"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a root and a base model of the test's own; the working directory holds the data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tickets.csv").write_text("text,label\n")
    (tmp_path / "encoder").mkdir()
    return load_settings(root=tmp_path / "root", base_model=str(tmp_path / "encoder"))


def _parameters(settings: Settings, *assignments: str, pipeline: str = "train-classifier", config: str = "") -> dict:
    given = assignments if config else ("data=tickets.csv", *assignments)
    return local_parameters(pipeline, config=config, assignments=list(given), settings=settings)


def test_settings_fill_in_what_a_run_needs_besides_data(settings: Settings, tmp_path: Path) -> None:
    parameters = _parameters(settings)
    assert parameters["registry_uri"] == f"sqlite:///{tmp_path}/root/registry/registry.db"
    assert parameters["deployment_uri"] == f"local:{tmp_path}/root/deployments"
    assert parameters["base_model"] == str(tmp_path / "encoder")


def test_an_assignment_outranks_the_config_and_the_config_the_settings(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("data: tickets.csv\nbase_model: org/from-config\nrows: 7\nepochs: 3\n")
    parameters = _parameters(settings, "rows=9", config="run.yaml")
    assert (parameters["base_model"], parameters["rows"], parameters["epochs"]) == ("org/from-config", 9, 3)


def test_a_relative_path_becomes_absolute_since_tasks_run_elsewhere(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("[a, b]")
    parameters = _parameters(settings, "taxonomy=labels.yaml", "base_model=encoder")
    assert parameters["data"] == str(tmp_path / "tickets.csv")
    assert parameters["taxonomy"] == str(tmp_path / "labels.yaml")
    assert parameters["base_model"] == str(tmp_path / "encoder")


def test_a_home_directory_is_expanded(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _parameters(settings, "data=~/tickets.csv")["data"] == str(tmp_path / "tickets.csv")


@pytest.mark.parametrize(
    "uri", ["gs://bucket/encoder", "org/encoder", "bert-base-uncased", "sentence-transformers/a.b_c"]
)
def test_a_remote_base_model_stays_as_it_is(uri: str, settings: Settings) -> None:
    assert _parameters(settings, f"base_model={uri}")["base_model"] == uri


@pytest.mark.parametrize("path", ["/no/such", "./encoders", "../encoder", "~/no-such", "a/b/c", "encoder/"])
def test_a_base_model_that_can_only_be_a_path_must_be_there(path: str, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "encoder").rmdir()
    with pytest.raises(InputError, match=r"No such file or directory: .* --set base_model="):
        _parameters(settings, f"base_model={path}")


def test_a_remote_data_file_is_left_to_the_task(settings: Settings) -> None:
    assert _parameters(settings, "data=gs://bucket/tickets.csv")["data"] == "gs://bucket/tickets.csv"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("rank=0", "rank must be at least 1"),
        ("alpha=0", "alpha must be at least 1"),
        ("epochs=-2", "epochs must be at least 1, not -2"),
        ("batch_size=0", "batch_size must be at least 1"),
        ("max_length_tokens=0", "max_length_tokens must be at least 1"),
        ("learning_rate=0", "learning_rate must be above 0"),
        ("dropout=1", "dropout must be at least 0 and below 1"),
        ("warmup_fraction=-0.1", "warmup_fraction must be at least 0"),
        ("precision=fp8", "precision must be auto, bf16 or fp32"),
        ("seed=-1", "seed must be at least 0"),
        ("minimum_f1=1.01", "minimum_f1 is 1.01"),
        ("margin=-0.1", "margin is -0.1"),
        ("minimum_support=0", "minimum_support is 0"),
        ("deployment_uri=cloudrun:p/s", "Deployment 'cloudrun:p/s' is not supported"),
    ],
)
def test_what_a_late_task_would_refuse_is_refused_before_the_run(
    assignment: str, words: str, settings: Settings
) -> None:
    with pytest.raises(InputError, match=words):
        _parameters(settings, assignment)


def test_convert_has_neither_training_nor_gate_to_check(settings: Settings) -> None:
    parameters = _parameters(settings, "checkpoint=encoder", pipeline="convert")
    assert parameters["base_model"] == "", "the base model of a conversion is asked for, never assumed"
    assert "registry_uri" not in parameters


def test_a_config_is_found_by_its_path_or_by_its_name(tmp_path: Path) -> None:
    assert config_path("sentiment") == _CONFIGS / "sentiment.yaml"
    assert "sentiment" in shipped_configs()
    own = tmp_path / "own.yaml"
    own.write_text("data: tickets.csv\n")
    assert config_path(str(own)) == own
    with pytest.raises(InputError, match=r"No such config: mine\. .* shipped ones: sentiment"):
        config_path("mine")
    with pytest.raises(InputError, match=r"x{300}: File name too long\. Pass the path of a YAML file\."):
        config_path("x" * 300)


@pytest.mark.parametrize("config", sorted(_CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_config_fits_its_pipeline(config: Path) -> None:
    required = {"registry_uri": "sqlite:////r.db", "deployment_uri": "local:/d"}
    parameters = check_parameters(train_classifier, {**required, **read_config(config)}, {})
    assert parameters["data"].startswith("sample://")


@pytest.mark.parametrize("pipeline", MODULE_BY_PIPELINE)
def test_a_file_that_is_not_there_is_named_with_its_parameter(pipeline: str, settings: Settings) -> None:
    assignments = ("data=gone.csv", "checkpoint=encoder") if pipeline == "convert" else ("data=gone.csv",)
    with pytest.raises(InputError, match=r"No such file or directory: gone\.csv\. Pass --set data="):
        _parameters(settings, *assignments, pipeline=pipeline)


@pytest.mark.parametrize("name", ["data", "taxonomy", "base_model"])
def test_a_path_that_cannot_be_looked_at_is_named_with_its_parameter(name: str, settings: Settings) -> None:
    with pytest.raises(InputError, match=rf"File name too long: x{{300}}\. Pass --set {name}="):
        _parameters(settings, f"{name}={'x' * 300}")
    with pytest.raises(InputError, match=r"~no-such-user/x: this home directory is not known"):
        _parameters(settings, f"{name}=~no-such-user/x")


def test_bytes_that_are_no_text_are_refused(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"Parameter model_name is not UTF-8: 'a\\udcffb'\."):
        _parameters(settings, "model_name=a\udcffb")


def test_data_may_be_a_folder_or_a_pattern(settings: Settings, tmp_path: Path) -> None:
    assert _parameters(settings, "data=.", pipeline="train-classifier")["data"] == str(tmp_path)
    assert _parameters(settings, "data=*.csv")["data"] == str(tmp_path / "*.csv")
    assert _parameters(settings, "test_data=tickets.csv")["test_data"] == str(tmp_path / "tickets.csv")
    with pytest.raises(InputError, match=r"Pass --set test_data=PATH"):
        _parameters(settings, "test_data=gone.csv")


def test_what_a_transformer_reads_is_left_to_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters_module, "transformer_names", lambda: ("daybook",))
    assert _parameters(settings, "data=table of notes", "source_format=daybook")["data"] == "table of notes"


def test_an_upload_goes_to_the_same_place_wherever_the_task_runs(settings: Settings, tmp_path: Path) -> None:
    assert _parameters(settings, "upload_root=bucket")["upload_root"] == str(tmp_path / "bucket")
    assert _parameters(settings, "upload_root=gs://bucket/x")["upload_root"] == "gs://bucket/x"
    assert _parameters(settings)["upload_root"] == ""
