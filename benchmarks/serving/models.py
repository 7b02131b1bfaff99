"""What is served: the package, the checkpoint that it was made from, and the texts."""

import csv
import hashlib
import json
import random
from pathlib import Path

from tunelane_pipelines.samples import fetch

DEPLOYMENT = Path("deployments") / "sentiment"
MAKES_PACKAGE = "tunelane run train-classifier --config sentiment"


def champion(home: Path) -> Path | None:
    """Give the package that the local deployment of the sample serves; None where there is none."""
    try:
        digest = json.loads((home / DEPLOYMENT / "active.json").read_bytes())["digest"]
    except FileNotFoundError:
        return None
    package = home / DEPLOYMENT / "revisions" / str(digest)
    return package if package.is_dir() else None


def checkpoint_of(package: Path, home: Path) -> Path | None:
    """Give the PyTorch checkpoint of the run that made a package: the one whose artifacts hold the same manifest."""
    digest = hashlib.sha256((package / "manifest.json").read_bytes()).digest()
    for manifest in home.glob("runs/*/artifacts/*/*/package/manifest.json"):
        checkpoint = manifest.parents[2] / "train-lora" / "model"
        if checkpoint.is_dir() and hashlib.sha256(manifest.read_bytes()).digest() == digest:
            return checkpoint
    return None


def sample_texts(count: int, seed: int) -> list[str]:
    """Give so many sentences of the sample data, fetched where they are not there, shuffled by the seed."""
    with Path(fetch("sentiment")).open(encoding="utf-8", newline="") as stream:
        texts = sorted({row["text"] for row in csv.DictReader(stream)})
    random.Random(seed).shuffle(texts)  # noqa: S311 - an order, no secret
    return texts[:count]
