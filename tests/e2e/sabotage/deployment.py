"""The promoting branch with the deployed files damaged before the smoke test."""

from kfp import dsl
from parts import adopt_file, adopt_model, run

from tunelane_components.deploy.component import confirm_champion, deploy, smoke_test
from tunelane_components.registry.component import register_candidate, resolve_champion


@dsl.component(base_image="test:python3.11", install_kfp_package=False)
def damage_deployment(deployment: str, digest: str) -> None:
    """Cut the preferred graph of the deployed revision short."""
    from pathlib import Path

    graph = Path(deployment) / "revisions" / digest / "model.int8.onnx"
    content = graph.read_bytes()
    graph.unlink()
    graph.write_bytes(content[: len(content) // 2])


@dsl.pipeline(name="sabotaged-deployment")
def sabotaged_deployment(
    package: str, verdict: str, digest: str, registry_uri: str, deployment_uri: str, deployment: str
) -> None:
    """What `train_classifier` does after a promoting gate, with `damage_deployment` before the smoke test."""
    champion = resolve_champion(model_name="sentiment", registry_uri=registry_uri)
    adopted = adopt_model(path=package)
    candidate = register_candidate(
        package=adopted.outputs["model"],
        verdict=adopt_file(path=verdict).outputs["artifact"],
        model_name="sentiment",
        registry_uri=registry_uri,
    )
    revision = {"model_name": "sentiment", "model_version": candidate.output, "deployment_uri": deployment_uri}
    deployed = deploy(package=adopted.outputs["model"], **revision)
    damaged = damage_deployment(deployment=deployment, digest=digest).after(deployed)
    smoked = smoke_test(package=adopted.outputs["model"], **revision).after(damaged)
    confirm_champion(
        package=adopted.outputs["model"],
        expected_version=champion.outputs["Output"],
        registry_uri=registry_uri,
        **revision,
    ).after(smoked)


if __name__ == "__main__":
    run(sabotaged_deployment)
