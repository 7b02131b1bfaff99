"""The KFP components of this stage."""

from kfp import dsl
from kfp.dsl import Input, Metrics, Model, Output

from tunelane_components.images import PIPELINES


@dsl.component(base_image=PIPELINES, install_kfp_package=False)
def deploy(package: Input[Model], model_name: str, model_version: str, deployment_uri: str) -> None:
    """Bring a registered model package to where it is served, without traffic yet.

    Args:
        package: The model package.
        model_name: The registry's name for the model.
        model_version: Its version in the registry.
        deployment_uri: Where to: local:/absolute/directory or gs://BUCKET/PATH.
    """
    from pathlib import Path

    from tunelane_components.deploy.interface import Revision
    from tunelane_components.deploy.open import open_deployer
    from tunelane_components.leaving import leave_quickly
    from tunelane_serving.package import package_digest

    leave_quickly()
    path = Path(package.path)
    open_deployer(deployment_uri).deploy(Revision(model_name, model_version, package_digest(path)), path)


@dsl.component(base_image=PIPELINES, install_kfp_package=False)
def smoke_test(
    package: Input[Model], model_name: str, model_version: str, deployment_uri: str, metrics: Output[Metrics]
) -> None:
    """Ask the deployed model for its golden rows; where it does not answer as it must, take it away and fail.

    Args:
        package: The model package.
        model_name: The registry's name for the model.
        model_version: Its version in the registry.
        deployment_uri: Where it was deployed to.
        metrics: Requests, the slowest of them, and one text with its answer.
    """
    from pathlib import Path

    from tunelane_components.deploy.interface import Revision
    from tunelane_components.deploy.open import open_deployer
    from tunelane_components.deploy.promotion import smoke_or_roll_back
    from tunelane_components.leaving import leave_quickly
    from tunelane_serving.package import package_digest

    leave_quickly()
    revision = Revision(model_name, model_version, package_digest(Path(package.path)))
    report = smoke_or_roll_back(open_deployer(deployment_uri), revision)
    metrics.log_metric("requests", report.requests)
    metrics.log_metric("max_latency_ms", report.max_latency_ms)
    metrics.log_metric("confidence", report.confidence)
    metrics.metadata["text"] = report.text
    metrics.metadata["label"] = report.label


@dsl.component(base_image=PIPELINES, install_kfp_package=False)
def confirm_champion(
    package: Input[Model],
    model_name: str,
    model_version: str,
    expected_version: str,
    registry_uri: str,
    deployment_uri: str,
) -> None:
    """Make the deployed model champion and give it all traffic, if the champion is still the one it was compared with.

    Args:
        package: The model package.
        model_name: The registry's name for the model.
        model_version: Its version in the registry.
        expected_version: Version that it was compared with; empty for nobody.
        registry_uri: The model registry, which decides.
        deployment_uri: Where it was deployed to.
    """
    from pathlib import Path

    from tunelane_components.deploy.interface import Revision
    from tunelane_components.deploy.open import open_deployer
    from tunelane_components.deploy.promotion import confirm_champion as confirm
    from tunelane_components.leaving import leave_quickly
    from tunelane_components.registry.open import open_registry
    from tunelane_serving.package import package_digest

    leave_quickly()
    confirm(
        open_registry(registry_uri),
        open_deployer(deployment_uri),
        Revision(model_name, model_version, package_digest(Path(package.path))),
        expected_version=expected_version or None,
    )
