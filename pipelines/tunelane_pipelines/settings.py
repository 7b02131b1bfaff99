"""Where things lie: one `Settings`, from defaults < YAML profile < `.env` < environment < command line."""

from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.parameters import read_config
from tunelane_serving.errors import InputError

LOCAL = "local:"
"""Scheme of a deployment on this machine: `local:DIRECTORY`."""


class Settings(BaseSettings):
    """Settings of the command line and of local runs. In the environment each has the prefix `TUNELANE_`."""

    model_config = SettingsConfigDict(
        env_prefix="TUNELANE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",  # a .env file is shared with other tools
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    profile: Path | None = None
    """YAML file with any of the settings below."""

    root: Path = Path(".tunelane")
    """Directory of runs, the local registry and local deployments; made absolute."""

    registry_uri: str = ""
    """MLflow registry; empty: SQLite below the root."""

    deployment_uri: str = ""
    """Where models are deployed; empty: a local deployment below the root."""

    base_model: str = "sample://minilm"
    """What a local run fine-tunes where its parameters name nothing: a sample, a path, a gs:// URI or a hub id."""

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: Path) -> Path:
        return root.expanduser().absolute()

    @field_validator("registry_uri")
    @classmethod
    def _registry_below_root(cls, uri: str, info: ValidationInfo) -> str:
        return uri or f"sqlite:///{info.data['root']}/registry/registry.db"

    @field_validator("deployment_uri")
    @classmethod
    def _deployment_below_root(cls, uri: str, info: ValidationInfo) -> str:
        return uri or f"{LOCAL}{info.data['root']}/deployments"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it by name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, strongest first; whichever of them names a profile adds it as the weakest."""
        above = (init_settings, env_settings, dotenv_settings)
        profile = next((found for source in above if (found := source().get("profile"))), None)
        values = _read_profile(Path(profile)) if profile else {}
        return (*above, InitSettingsSource(settings_cls, values))


def load_settings(profile: Path | None = None, **overrides: Any) -> Settings:
    """Load the settings in force. `overrides` come from the command line; None stands for an option that was not given.

    Raises:
        InputError: the profile is missing or broken, has an unknown key or a value of the wrong type; or an override is
            not a setting; or `.env` is not UTF-8.
    """
    for name in overrides:
        if name not in Settings.model_fields:
            raise InputError(no_such("setting", name, Settings.model_fields))
    given = {"profile": profile, **overrides}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except UnicodeDecodeError as error:
        raise InputError(f".env: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error


def local_deployment(settings: Settings, model: str) -> Path:
    """Give the directory of a model's local deployment, which the server follows.

    Raises:
        InputError: `deployment_uri` is not a local one.
    """
    if not settings.deployment_uri.startswith(LOCAL):
        raise InputError(f"{settings.deployment_uri} is not on this machine. Set deployment_uri to {LOCAL}DIRECTORY.")
    return Path(settings.deployment_uri.removeprefix(LOCAL)) / model


def _read_profile(path: Path) -> dict[str, Any]:
    """Read the settings in a profile, each checked here, where the file's name is known."""
    values = read_config(path)
    known = Settings.model_fields.keys() - {"profile"}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{path}: {no_such('setting', name, known)}")
        try:
            TypeAdapter(get_type_hints(Settings)[name]).validate_python(value)
        except ValidationError as error:
            raise InputError(f"{path}: {name}: {error.errors()[0]['msg']}, not {value!r}.") from error
    return values
