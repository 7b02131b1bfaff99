"""Components that adopt finished artifacts into a test's pipeline, or damage them on the way."""

import sys
from typing import Any

from kfp import dsl, local
from kfp.dsl import Artifact, Dataset, Input, Model, Output


@dsl.component(base_image="test:python3.11", install_kfp_package=False)
def adopt_model(path: str, model: Output[Model]) -> None:
    """A directory from an earlier run as a Model."""
    import shutil

    shutil.copytree(path, model.path, dirs_exist_ok=True)


@dsl.component(base_image="test:python3.11", install_kfp_package=False)
def adopt_dataset(path: str, dataset: Output[Dataset]) -> None:
    """A directory from an earlier run as a Dataset."""
    import shutil

    shutil.copytree(path, dataset.path, dirs_exist_ok=True)


@dsl.component(base_image="test:python3.11", install_kfp_package=False)
def adopt_file(path: str, artifact: Output[Artifact]) -> None:
    """A file from an earlier run as an Artifact."""
    import shutil

    shutil.copyfile(path, artifact.path)


@dsl.component(base_image="test:python3.11", install_kfp_package=False)
def damage_package(how: str, draft: Input[Model], damaged: Output[Model]) -> None:
    """The package with another tokenizer, or with its labels in another order, under a manifest that fits."""
    import json
    import shutil
    from pathlib import Path

    import msgspec

    from tunelane_serving.package import describe_files, read_manifest, seal

    target = Path(damaged.path)
    shutil.copytree(draft.path, target, dirs_exist_ok=True)
    manifest = read_manifest(target)
    if how == "tokenizer":
        tokenizer = json.loads((target / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        words = [word for word in vocabulary if not word.startswith("[")]
        ids = [vocabulary[word] for word in words]
        vocabulary.update(zip(words, reversed(ids), strict=True))
        (target / "tokenizer.json").write_text(json.dumps(tokenizer))
    elif how == "labels":
        labels = tuple(reversed(manifest.taxonomy.labels))
        manifest = msgspec.structs.replace(manifest, taxonomy=msgspec.structs.replace(manifest.taxonomy, labels=labels))
    seal(target, msgspec.structs.replace(manifest, files=describe_files(target)))


def run(pipeline: Any) -> None:
    """Run `pipeline` as the local target does, with `name=value` arguments from the command line."""
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
    pipeline(**dict(argument.split("=", 1) for argument in sys.argv[2:]))
