"""The pipelines by name."""

import pytest

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_serving.errors import InputError


@pytest.mark.parametrize("name", MODULE_BY_PIPELINE)
def test_a_pipeline_is_loaded_by_the_name_that_it_has_on_every_target(name: str) -> None:
    assert load_pipeline(name).name == name


@pytest.mark.parametrize("name", ["train-clasifier", "train_classifier", "TRAIN-CLASSIFIER", "trainclassifier"])
def test_an_unknown_name_names_the_nearest(name: str) -> None:
    with pytest.raises(InputError, match=f"No pipeline '{name}'. Did you mean 'train-classifier'"):
        load_pipeline(name)


def test_a_name_near_to_none_names_all() -> None:
    with pytest.raises(InputError, match="There are: convert, train-classifier"):
        load_pipeline("xyz")
