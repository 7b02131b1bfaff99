from pathlib import Path

import pytest

from tunelane_components.deploy.bucket import BucketDeployer
from tunelane_components.deploy.local import LocalDeployer
from tunelane_components.deploy.open import open_deployer
from tunelane_serving.errors import InputError


def test_a_local_deployment_is_named_by_its_directory(tmp_path: Path) -> None:
    assert isinstance(open_deployer(f"local:{tmp_path}"), LocalDeployer)


def test_a_folder_in_a_bucket_is_a_deployment_and_nothing_is_asked_yet() -> None:
    assert isinstance(open_deployer("gs://tunelane-bucket/deployments"), BucketDeployer)
    with pytest.raises(InputError, match="is not a folder in a bucket"):
        open_deployer("gs://No Bucket/deployments")


@pytest.mark.parametrize("uri", ["", "/absolute", "local:relative", "local:", "cloudrun:p/europe-west1/s"])
def test_an_unsupported_deployment_is_named_with_what_is_supported(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        open_deployer(uri)
    assert str(caught.value) == (
        f"Deployment {uri!r} is not supported. Set deployment_uri to local:/absolute/directory, or to gs://BUCKET/PATH."
    )
