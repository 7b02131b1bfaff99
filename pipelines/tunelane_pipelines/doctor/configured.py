"""The settings in force, and where each comes from."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from tunelane_components.deploy.open import open_deployer
from tunelane_components.registry.open import open_registry
from tunelane_components.secrets import is_secret_version
from tunelane_pipelines.compiling.resources import VERTEX, chosen_training, resources_of
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.images import references
from tunelane_pipelines.doctor.places import what_is_there
from tunelane_pipelines.parameters import read_config
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.settings import LOCAL, Settings, load_settings
from tunelane_pipelines.settings.variables import DOTENV, NESTED, PREFIX, named_variables
from tunelane_serving.errors import InputError, TunelaneError

# Read by the samples' cache, containers/docker-compose.yml, the server and the client.
_NOT_SETTINGS = (
    "TUNELANE_CACHE_DIR",
    "TUNELANE_DEPLOYMENT",
    "TUNELANE_API_KEY",
    "TUNELANE_API_KEYS",
    "TUNELANE_DATABASE_URL",
)


def check_settings(root: Path | None, profile: Path | None) -> tuple[Settings | None, list[Check]]:
    """Load the settings as every command does; None where they cannot be."""
    try:
        settings = load_settings(profile, root=root)
    except TunelaneError as error:
        return None, [Check("settings", "problem", mask(str(error)), "Correct it; no other command works until then.")]
    sources = setting_sources(settings, root=root, profile=profile)
    checks = [_check_value(settings, name, source) for name, source in sources.items()]
    return settings, [*checks, *_misspelt()]


def setting_sources(settings: Settings, *, root: Path | None, profile: Path | None) -> dict[str, str]:
    """Where each setting comes from: the default, the profile, .env, the environment or the command line.

    Those in a section are written section.name, and are there where something sets them.
    """
    rising = [
        (str(settings.profile), _flat(read_config(settings.profile) if settings.profile is not None else {})),
        (DOTENV, _flat(DotEnvSettingsSource(Settings)())),
        ("environment", _flat(EnvSettingsSource(Settings)())),
        ("command line", {name: value for name, value in (("root", root), ("profile", profile)) if value is not None}),
    ]
    found = {name: "default" for name in Settings.model_fields if not isinstance(getattr(settings, name), BaseModel)}
    for source, values in rising:
        found |= {name: source for name in values if name in found or "." in name}
    return found


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, those of sections as section.name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{below}": inner for below, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _value(settings: Settings, name: str) -> str:
    section, _, field = name.rpartition(".")
    value = getattr(getattr(settings, section) if section else settings, field)
    if isinstance(value, SecretStr):
        return "set, and not shown" if value.get_secret_value() else "none"
    return mask(str("none" if value in ("", None) else value))


def _check_value(settings: Settings, name: str, source: str) -> Check:
    value = _value(settings, name)
    try:
        if name == "registry_uri":
            _require_registry(settings.registry_uri)
        elif name == "deployment_uri":
            open_deployer(settings.deployment_uri)
        elif name == "base_model":
            what_is_there("model.base_model", settings.base_model, "")
        elif name == "images":
            references(settings)
        elif name == "gpu":
            resources_of("train_lora", VERTEX, chosen_training(settings.gpu, settings.gcp))
    except InputError as error:
        return Check(name, "problem", f"{value} ({source})", mask(str(error)))
    return Check(name, "ok", f"{value.removeprefix(LOCAL)} ({source})")


def _require_registry(uri: str) -> None:
    """Refuse a registry that no run could open; what a secret holds is for the task that reads it."""
    if not is_secret_version(uri):
        open_registry(uri)


def _misspelt() -> Iterator[Check]:
    """Variables that look like a setting and are none: they would be passed over in silence."""
    known = [name.upper() for name in Settings.model_fields]
    for name, place in sorted(named_variables().items()):
        rest = name.removeprefix(PREFIX)
        if NESTED not in rest and rest not in known and name not in _NOT_SETTINGS:
            near = get_close_matches(rest, known, n=1)
            if near:
                found = "is no setting and has no effect" + (f" ({DOTENV})" if place == DOTENV else "")
                yield Check(name, "warning", found, f"Did you mean {PREFIX}{near[0]}?")
