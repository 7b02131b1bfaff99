"""Where things lie: one `Settings`, from defaults < YAML profile < `.env` < environment < command line."""

from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.parameters import read_config
from tunelane_pipelines.settings.errors import unreadable_variables, what, where_and_what
from tunelane_pipelines.settings.sections import (
    DataSettings,
    EvaluationSettings,
    GcpSettings,
    KubeflowSettings,
    ModelSettings,
    ServingSettings,
)
from tunelane_pipelines.settings.variables import DOTENV, NESTED, PREFIX, named_variables
from tunelane_serving.errors import InputError
from tunelane_serving.files import home_expanded

LOCAL = "local:"
"""Scheme of a deployment on this machine: `local:DIRECTORY`."""

PROFILES = Path("profiles")
"""Directory of the profiles that are named without a path."""


class Settings(BaseSettings):
    """Settings of every command, here and on a cluster. In the environment each has the prefix `TUNELANE_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=DOTENV,
        env_ignore_empty=True,
        env_nested_delimiter=NESTED,
        extra="ignore",  # a .env file is shared with other tools
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    profile: Path | None = None
    """YAML file with any of the settings below, or the name of one in ./profiles: prod is ./profiles/prod.yaml."""

    root: Path = Path(".tunelane")
    """Directory of runs, the local registry and local deployments; made absolute."""

    registry_uri: str = ""
    """Model registry: sqlite:////PATH, or gs://BUCKET/PATH for many machines; empty: SQLite below the root."""

    deployment_uri: str = ""
    """Where models are deployed: local:/PATH or gs://BUCKET/PATH; empty: a local deployment below the root."""

    base_model: str = "sample://minilm"
    """What a local run fine-tunes where its parameters name nothing: a sample, a path, a gs:// URI or a hub id."""

    images: Path | None = None
    """JSON file of image references by logical name, as a release writes it; what a cluster pulls."""

    gpu: str = "l4"
    """What training gets on a cluster: l4, a100 or none."""

    gcp: GcpSettings = GcpSettings()
    """Vertex AI."""

    kubeflow: KubeflowSettings = KubeflowSettings()
    """Kubeflow Pipelines."""

    model: ModelSettings = ModelSettings()
    """What is fine-tuned, and how."""

    data: DataSettings = DataSettings()
    """What is trained and judged on."""

    evaluation: EvaluationSettings = EvaluationSettings()
    """What a model must reach."""

    serving: ServingSettings = ServingSettings()
    """The graphs that serve."""

    @field_validator("profile")
    @classmethod
    def _profile_file(cls, profile: Path | None) -> Path | None:
        return None if profile is None else profile_path(profile)

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: Path) -> Path:
        return home_expanded(root).absolute()

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
        values = _read_profile(profile_path(Path(profile))) if profile else {}
        return (*above, InitSettingsSource(settings_cls, values))


def load_settings(profile: Path | None = None, **overrides: Any) -> Settings:
    """Load the settings in force. `overrides` come from the command line; None stands for an option that was not given.

    Raises:
        InputError: there is no such profile, or it is broken; a setting that does not exist is named anywhere, or a
            value is of the wrong type; or `.env` is not UTF-8.
    """
    for name in overrides:
        if name not in Settings.model_fields:
            raise InputError(no_such("setting", name, Settings.model_fields))
    given = {"profile": profile, **overrides}
    try:
        refuse_unknown_sections()
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except UnicodeDecodeError as error:
        raise InputError(f".env: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    except SettingsError as error:
        raise InputError(unreadable_variables(error)) from error
    except ValidationError as error:
        raise InputError(where_and_what(error, section_types())) from error


def profile_path(profile: Path) -> Path:
    """Give the file of a profile: the path itself, or for a bare name the one in ./profiles.

    Raises:
        InputError: a bare name that no file has; names the nearest.
    """
    if profile.suffix or len(profile.parts) > 1:
        return profile
    path = PROFILES / f"{profile}.yaml"
    try:
        found = next((place for place in (profile, path) if place.is_file()), None)
    except OSError as error:
        raise InputError(f"{profile}: {error.strerror}. Pass the path of a YAML file.") from error
    if found is not None:
        return found
    known = sorted(found.stem for found in PROFILES.glob("*.yaml"))
    if not known:
        raise InputError(f"No profile {str(profile)!r}: there is no {path}. Make it, or pass the path of a YAML file.")
    raise InputError(no_such("profile", str(profile), known))


def section_types() -> dict[str, type[BaseModel]]:
    """Give the sections of the settings by their names."""
    return {
        name: hint
        for name, hint in get_type_hints(Settings).items()
        if isinstance(hint, type) and issubclass(hint, BaseModel)
    }


def refuse_unknown_sections() -> None:
    """Refuse a variable that is written as a setting in a section, where there is no such section.

    Pydantic passes over it, since a `.env` is shared with other tools; but no other tool writes one like that.

    Raises:
        InputError: names it, and the nearest section.
        UnicodeDecodeError: `.env` is not UTF-8.
    """
    for name, place in named_variables().items():
        section, is_nested, _ = name.removeprefix(PREFIX).lower().partition(NESTED)
        if is_nested and section not in section_types():
            raise InputError(f"{name} ({place}): {no_such('section', section, section_types())}")


def local_deployment(settings: Settings, model: str) -> Path:
    """Give the directory of a model's local deployment, which the server follows.

    Raises:
        InputError: `deployment_uri` is not a local one.
    """
    if not settings.deployment_uri.startswith(LOCAL):
        raise InputError(f"{settings.deployment_uri} is not on this machine. Set deployment_uri to {LOCAL}DIRECTORY.")
    return Path(settings.deployment_uri.removeprefix(LOCAL)) / model


def place_of(settings: Settings, model: str) -> str:
    """Give where a model is deployed: a directory of this machine, or a URI."""
    return f"{settings.deployment_uri.removeprefix(LOCAL).rstrip('/')}/{model}"


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
            raise InputError(f"{path}: {what(error, section_types(), above=(name,))}") from error
    return values
