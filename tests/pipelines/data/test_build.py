"""What a build may replace: an older dataset, and nothing else."""

import sys
from pathlib import Path

import pytest

from tunelane_pipelines.data.build import check_output
from tunelane_pipelines.data.runners import RUNNERS, load_runner
from tunelane_serving.errors import InputError


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    directory = tmp_path / "dataset"
    directory.mkdir()
    for name in ("dataset.json", "train.jsonl"):
        (directory / name).write_text("{}\n")
    return directory


def test_nothing_an_empty_directory_and_a_dataset_may_be_replaced(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "new", tmp_path / "empty", dataset):
        check_output(output, "gs://bucket/rows.csv")
        check_output(output, str(tmp_path / "rows.csv"))


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match=r"holds something that is no dataset\. Name another directory with --output"):
        check_output(tmp_path, "rows.csv")
    with pytest.raises(InputError, match=r"letters\.txt is a file"):
        check_output(tmp_path / "letters.txt", "rows.csv")


@pytest.mark.parametrize(
    "data", ["dataset/train.jsonl", "dataset", "./dataset/*.jsonl", "other/../dataset/train.jsonl"]
)
def test_what_the_rows_are_read_from_is_not_replaced(
    data: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="which would be replaced"):
        check_output(Path("dataset"), data)
    with pytest.raises(InputError, match="which would be replaced"):
        check_output(dataset, data)


def test_a_runner_is_known_by_its_name() -> None:
    assert load_runner("local", []) is None
    assert RUNNERS == ("local", "beam")
    with pytest.raises(InputError, match=r"No runner 'baem'\. Did you mean 'beam'\?"):
        load_runner("baem", [])


def test_beam_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(InputError, match=r"pip install 'tunelane\[beam\]'"):
        load_runner("beam", [])


def test_options_of_beam_without_beam_are_refused() -> None:
    with pytest.raises(InputError, match=r"Pass --runner beam, too"):
        load_runner("local", ["--direct_num_workers=2"])
