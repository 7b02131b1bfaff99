"""A pipeline of the components that read and write what runs share, with a package that was made before."""

import sys

from kfp import dsl, local
from kfp.dsl import Artifact, Model, Output

from tunelane_components.deploy.component import confirm_champion, deploy, smoke_test
from tunelane_components.etl.component import build_dataset
from tunelane_components.registry.component import register_candidate, resolve_champion


@dsl.component(base_image="test:python3.11", install_kfp_package=False)
def adopt(package: str, model: Output[Model], verdict: Output[Artifact]) -> None:
    """A finished package, and a verdict that promotes it."""
    import shutil
    from pathlib import Path

    from tunelane_components.gate.verdict import Rule, Verdict
    from tunelane_serving.contract import write
    from tunelane_serving.package import package_digest

    shutil.copytree(package, model.path, dirs_exist_ok=True)
    rule = Rule("minimum_f1", 0.9, 0.8, "passed", "It is high enough.")
    digest = package_digest(Path(model.path))
    write(Path(verdict.path), Verdict("promote", "It is good enough.", (rule,), 100, digest, macro_f1=0.9))


@dsl.pipeline(name="promote")
def promote(data: str, package: str, upload_root: str, registry_uri: str, deployment_uri: str) -> None:
    """What `train_classifier` does before training and after a promoting gate."""
    build_dataset(data=data, upload_root=upload_root)
    champion = resolve_champion(model_name="sentiment", registry_uri=registry_uri)
    adopted = adopt(package=package)
    model = adopted.outputs["model"]
    candidate = register_candidate(
        package=model, verdict=adopted.outputs["verdict"], model_name="sentiment", registry_uri=registry_uri
    )
    revision = {"model_name": "sentiment", "model_version": candidate.output, "deployment_uri": deployment_uri}
    deployed = deploy(package=model, **revision)
    smoked = smoke_test(package=model, **revision).after(deployed)
    confirm_champion(
        package=model, expected_version=champion.outputs["Output"], registry_uri=registry_uri, **revision
    ).after(smoked)


if __name__ == "__main__":
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
    promote(**dict(argument.split("=", 1) for argument in sys.argv[2:]))
