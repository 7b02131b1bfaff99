"""What a model is called that was given no name."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tunelane_serving.server.opening import name_of
from tunelane_serving.server.options import parse
from tunelane_serving.server.wire import ModelId


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("https://host/models/reviews.tar.gz?X-Goog-Signature=a/b&X-Goog-Expires=60", "reviews"),
        ("https://host/models/reviews.zip#top", "reviews"),
        ("https://host/my%20model (1).tgz", "my-20model-1"),
        ("gs://bucket/packages/sentiment/", "sentiment"),
        ("gs://bucket", "model"),
        ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("https://host/.hidden", "hidden"),
        ("https://host/" + "m" * 300, "m" * 128),
        ("https://host/模型", "model"),
    ],
)
def test_a_model_is_named_after_the_last_part_of_its_path_and_can_be_asked_by_that(uri: str, name: str) -> None:
    assert name_of(parse(["--model", uri], {})) == name
    assert msgspec.convert(name, ModelId) == name


def test_a_package_is_named_after_its_folder(
    tiny_package: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tiny_package(tmp_path / "my reviews…")
    assert name_of(parse(["--package", str(package)], {})) == "my-reviews"
    monkeypatch.chdir(package)
    assert name_of(parse(["--package", "."], {})) == "my-reviews"
