import pytest

from tunelane_components.registry.bucket import BucketRegistry
from tunelane_components.registry.open import open_registry
from tunelane_serving.errors import InputError


@pytest.mark.parametrize(
    "uri", ["", "registry.db", "sqlite:///relative.db", "http://mlflow:5000", "vertex:p/europe-west1"]
)
def test_an_unsupported_registry_is_named_with_what_is_supported(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        open_registry(uri)
    assert str(caught.value) == (
        f"Registry {uri!r} is not supported. Set registry_uri to sqlite:////absolute/path/registry.db, or to "
        "gs://BUCKET/PATH."
    )


def test_a_folder_in_a_bucket_is_a_registry_and_nothing_is_asked_yet() -> None:
    assert isinstance(open_registry("gs://tunelane-bucket/registry"), BucketRegistry)


@pytest.mark.parametrize("uri", ["gs://", "gs:///registry", "gs://B/registry", "gs://bucket/a//b", "gs://bucket/../x"])
def test_what_names_no_folder_in_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        open_registry(uri)
    assert str(caught.value) == f"{uri!r} is not a folder in a bucket. Pass gs://BUCKET/PATH."
