"""What the settings name by path or URI: whether it is there, and whether the target that is asked could reach it."""

from collections.abc import Iterator
from pathlib import Path

from tunelane_components.etl.sources.find import find_sources
from tunelane_components.etl.sources.transformers import transformer_names
from tunelane_components.etl.taxonomy import load_taxonomy
from tunelane_components.storage import local_path
from tunelane_pipelines.defaults import PARAMETER_BY_SETTING
from tunelane_pipelines.doctor.check import Check, gigabytes
from tunelane_pipelines.doctor.hardware import nearest_existing
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.samples import SAMPLES
from tunelane_pipelines.samples.store import SCHEME
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.submitting.parameters import refuse_local, refuse_passwords
from tunelane_serving.errors import InputError, TunelaneError

TAXONOMY = "data.taxonomy"
"""The setting that names the labels."""

UPLOAD_ROOT = "data.upload_root"
"""The setting that names where datasets are put, which need not be there before."""

_BASE_MODEL = "model.base_model"
_SOURCES = ("data.uri", "data.test_uri")
_PLACES = (*_SOURCES, TAXONOMY, UPLOAD_ROOT, _BASE_MODEL)
_ON_A_CLUSTER = ("registry_uri", "deployment_uri")


def named_places(settings: Settings) -> dict[str, str]:
    """Give the settings that name a place, by section.name, where they are set."""
    values = {name: getattr(getattr(settings, section), field) for name, section, field in map(_split, _PLACES)}
    return {name: value for name, value in values.items() if value}


def check_places(settings: Settings, target: str = "") -> Iterator[Check]:
    """Look at each place that is on this machine; with a target say whether that could reach it."""
    source_format = settings.data.format or ""
    for name, value in named_places(settings).items():
        try:
            if target and not _is_foreign(name, source_format):
                _, section, field = _split(name)
                refuse_for_clusters(PARAMETER_BY_SETTING[section, field], value)
            found = what_is_there(name, value, source_format)
        except TunelaneError as error:
            yield Check(name, "problem", mask(value), mask(str(error)))
        else:
            yield Check(name, "ok", f"{mask(value)}: {found}" if found else mask(value))


def check_reach(settings: Settings) -> Iterator[Check]:
    """Whether a cluster could use the registry and the deployment, which `convert` does without."""
    for name in _ON_A_CLUSTER:
        value = getattr(settings, name)
        try:
            refuse_for_clusters(name, value)
        except InputError as error:
            found = f"{mask(value)}: train-classifier cannot be submitted with it"
            yield Check(name, "warning", found, mask(str(error)))


def refuse_for_clusters(parameter: str, value: str) -> None:
    """Refuse what only this machine has, and what would show a password there; raises InputError."""
    refuse_local({parameter: value})
    refuse_passwords({parameter: value})


def what_is_there(name: str, value: str, source_format: str) -> str:
    """Say what a place of this machine holds; nothing for one elsewhere, which a target may be asked about.

    Raises:
        InputError: it holds nothing, or nothing that can be used.
    """
    if value.startswith(SCHEME):
        return _sample(value)
    path = local_path(value)
    if path is None:
        return ""
    if name in _SOURCES:
        return "" if _is_foreign(name, source_format) else _sources(value, source_format)
    if name == TAXONOMY:
        return f"{len(load_taxonomy(path).labels)} labels"
    if name == _BASE_MODEL:
        _require_base_model(value, path)
    return ""


def _sample(value: str) -> str:
    name = value.removeprefix(SCHEME).rstrip("/")
    if name not in SAMPLES:
        raise InputError(no_such("sample", name, SAMPLES))
    return f"a sample ({SAMPLES[name].kind})"


def _sources(value: str, source_format: str) -> str:
    files = find_sources(value, source_format=source_format).files
    counted = "1 file" if len(files) == 1 else f"{len(files):,} files"
    return f"{counted}, {gigabytes(sum(file.size_bytes for file in files))}"


def _require_base_model(value: str, path: Path) -> None:
    """Refuse a path that is not there; whether a hub has a model of some id cannot be told from here."""
    if value.startswith(("/", ".", "~", "file:")) and nearest_existing(path) != path:
        raise InputError("No such directory. Set base_model to a sample, a path, a gs:// URI or a hub id.")


def _is_foreign(name: str, source_format: str) -> bool:
    """Whether only a transformer knows what a source is: it need not be files."""
    return name in _SOURCES and source_format in transformer_names()


def _split(name: str) -> tuple[str, str, str]:
    section, _, field = name.partition(".")
    return name, section, field
