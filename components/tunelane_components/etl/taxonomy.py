"""Where a task's taxonomy comes from: a file that the user keeps, or the labels of the data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tunelane_serving.contract import decode
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.taxonomy import Label, Taxonomy

_SUFFIXES = (".yaml", ".yml", ".json")


def load_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy from YAML or JSON.

    The file holds `labels`, a list of names or of mappings with `name`, `description`, `parent` and `aliases`; or that
    list alone. Every YAML scalar is read as text, so that labels such as `no`, `1` and `null` stay what they are.

    Raises:
        InputError: the file is missing or of an unknown kind, or breaks the contract; names the file and the field.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path.name}: unknown kind of taxonomy. Pass a file that ends in {', '.join(_SUFFIXES)}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read the taxonomy {path}: {error.strerror}.") from error
    document = _parsed_json(content, path) if path.suffix.lower() == ".json" else _parsed_yaml(content, path)
    if isinstance(document, list):
        document = {"labels": document}
    if not isinstance(document, dict):
        raise InputError(f"{path.name}: a taxonomy holds a list of labels, like: labels: [negative, positive]")
    labels = document.get("labels")
    if isinstance(labels, list):
        document["labels"] = [{"name": label} if isinstance(label, str) else label for label in labels]
    try:
        return decode(msgspec.json.encode(document), Taxonomy, path.name)
    except ContractError as error:
        raise InputError(str(error)) from error


def infer_taxonomy(names: Iterable[str]) -> Taxonomy:
    """Make a taxonomy of the labels found in the data, in alphabetical order.

    Raises:
        InputError: there are fewer than two labels.
    """
    found = sorted(set(names))
    if len(found) < 2:
        seen = f"Every row has the label {found[0]!r}" if found else "No row has a label"
        raise InputError(
            f"{seen}; a classifier needs at least two. Check --set label_field=NAME, or add rows of another."
        )
    return Taxonomy(labels=tuple(Label(name=name) for name in found))


def _parsed_json(content: bytes, path: Path) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is not valid JSON: {error}.") from error


def _parsed_yaml(content: bytes, path: Path) -> Any:
    try:
        # BaseLoader builds nothing but text, lists and mappings: as safe as SafeLoader, and `no` is not False.
        document = yaml.load(content, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}.") from error
    if isinstance(document, dict) and str(document.get("version", "")).isdecimal():
        document["version"] = int(document["version"])
    return document
