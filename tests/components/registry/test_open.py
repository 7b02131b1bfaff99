import pytest

from tunelane_components.registry.open import open_registry
from tunelane_serving.errors import InputError


@pytest.mark.parametrize(
    "uri", ["", "registry.db", "sqlite:///relative.db", "http://mlflow:5000", "vertex:p/europe-west1"]
)
def test_an_unsupported_registry_is_named_with_what_is_supported(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        open_registry(uri)
    assert str(caught.value) == (
        f"Registry {uri!r} is not supported. Set registry_uri to sqlite:////absolute/path/registry.db."
    )
