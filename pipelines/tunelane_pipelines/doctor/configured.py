"""The settings in force, and where each comes from."""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from tunelane_components.deploy.open import open_deployer
from tunelane_components.registry.open import open_registry
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.parameters import read_config
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.samples import SAMPLES
from tunelane_pipelines.settings import LOCAL, Settings, load_settings
from tunelane_serving.errors import InputError, TunelaneError

_PREFIX = "TUNELANE_"
_SAMPLE = "sample://"
# Read by the samples' cache and by containers/docker-compose.yml.
_NOT_SETTINGS = ("TUNELANE_CACHE_DIR", "TUNELANE_DEPLOYMENT")


def check_settings(root: Path | None, profile: Path | None) -> tuple[Settings | None, list[Check]]:
    """Load the settings as every command does; None where they cannot be."""
    try:
        settings = load_settings(profile, root=root)
    except TunelaneError as error:
        return None, [Check("settings", "problem", str(error), "Correct it; no other command works until then.")]
    sources = setting_sources(settings, root=root, profile=profile)
    checks = [_check_value(settings, name, source) for name, source in sources.items()]
    return settings, [*checks, *_misspelt()]


def setting_sources(settings: Settings, *, root: Path | None, profile: Path | None) -> dict[str, str]:
    """Where each setting comes from: the default, the profile, .env, the environment or the command line."""
    found = dict.fromkeys(Settings.model_fields, "default")
    in_profile = read_config(settings.profile) if settings.profile is not None else {}
    in_environment = EnvSettingsSource(Settings)()
    given = {"root": root, "profile": profile}
    for name in found:
        if given.get(name) is not None:
            found[name] = "command line"
        elif name in in_environment:
            found[name] = "environment"
        elif name in DotEnvSettingsSource(Settings)():
            found[name] = ".env"
        elif name in in_profile:
            found[name] = str(settings.profile)
    return found


def _check_value(settings: Settings, name: str, source: str) -> Check:
    value = mask(str(getattr(settings, name) or "none"))
    try:
        if name == "registry_uri":
            open_registry(settings.registry_uri)
        elif name == "deployment_uri":
            open_deployer(settings.deployment_uri)
        elif name == "base_model":
            _require_base_model(settings.base_model)
    except InputError as error:
        return Check(name, "problem", f"{value} ({source})", mask(str(error)))
    return Check(name, "ok", f"{value.removeprefix(LOCAL)} ({source})")


def _require_base_model(uri: str) -> None:
    """Refuse a sample or a path that is not there; a hub's id cannot be told from here."""
    if uri.startswith(_SAMPLE) and uri.removeprefix(_SAMPLE).rstrip("/") not in SAMPLES:
        raise InputError(f"No such sample. There are: {', '.join(_SAMPLE + name for name in SAMPLES)}.")
    if uri.startswith(("/", ".", "~")) and not Path(uri).expanduser().exists():
        raise InputError("No such directory. Set base_model to a sample, a path, a gs:// URI or a hub id.")


def _misspelt() -> Iterator[Check]:
    """Variables that look like a setting and are none: they would be passed over in silence."""
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted(os.environ):
        rest = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and rest not in known and name not in _NOT_SETTINGS:
            near = get_close_matches(rest, known, n=1)
            if near:
                yield Check(name, "warning", "is no setting and has no effect", f"Did you mean {_PREFIX}{near[0]}?")
