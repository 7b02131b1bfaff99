"""Where things lie: one `Settings`, from defaults < YAML profile < `.env` < environment < command line."""

import os
import re
from pathlib import Path
from typing import Any, get_type_hints

from dotenv import dotenv_values
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.parameters import read_config
from tunelane_pipelines.sections import DataSettings, EvaluationSettings, ModelSettings, Section, ServingSettings
from tunelane_serving.errors import InputError

LOCAL = "local:"
"""Scheme of a deployment on this machine: `local:DIRECTORY`."""

PREFIX = "TUNELANE_"
"""What the variable of a setting begins with."""

NESTED = "__"
"""What stands between a section and its setting in a variable: TUNELANE_GCP__PROJECT."""

DOTENV = ".env"
"""File with variables, in the working directory."""

PROFILES = Path("profiles")
"""Directory of the profiles that are named without a path."""


class GcpSettings(Section):
    """Google Cloud, for runs on Vertex AI."""

    project: str = ""
    """Project id."""

    region: str = ""
    """Where runs go, for instance europe-west4."""

    pipeline_root: str = ""
    """gs:// folder of the artifacts of runs; its bucket lies in the same region."""

    service_account: str = ""
    """E-mail address of the account that tasks run as; empty: the project's default."""

    network: str = ""
    """VPC network that tasks are peered with: projects/NUMBER/global/networks/NAME."""

    encryption_key: str = ""
    """Cloud KMS key: projects/P/locations/REGION/keyRings/R/cryptoKeys/K."""

    template_repository: str = ""
    """Artifact Registry repository of templates (format KFP): REGION-kfp.pkg.dev/PROJECT/REPOSITORY."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of every run, for bills and filters."""


class KubeflowSettings(Section):
    """A Kubeflow Pipelines installation."""

    host: str = ""
    """URL of its API, for instance https://kubeflow.example.org/pipeline."""

    namespace: str = ""
    """The user's namespace; empty: an installation without users."""

    experiment: str = "Tunelane"
    """Experiment that runs belong to; made where it is missing."""

    token: SecretStr = SecretStr("")
    """Bearer token; empty: none, or the one in token_file."""

    token_file: Path | None = None
    """File with a bearer token, read anew for every command."""

    ca_file: Path | None = None
    """Certificates of the installation's authority."""

    pipeline_root: str = ""
    """Folder of artifacts; empty: the installation's own."""

    time_zone: str = "UTC"
    """Time zone that the installation reads cron expressions in: its CRON_SCHEDULE_TIMEZONE."""

    gpu_node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that tasks with a GPU go to, for instance cloud.google.com/gke-accelerator: nvidia-l4."""

    gpu_tolerations: tuple[str, ...] = ("nvidia.com/gpu:NoSchedule",)
    """Taints of those nodes, written as KEY:EFFECT or KEY=VALUE:EFFECT."""

    image_pull_secrets: tuple[str, ...] = ()
    """Secrets of the namespace that images are pulled with."""

    secret_environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of every task from Secrets of the namespace: VARIABLE: SECRET/KEY."""

    volumes: dict[str, str] = Field(default_factory=dict)
    """Persistent volume claims of every task: MOUNT PATH: CLAIM."""


class Settings(BaseSettings):
    """Settings of the command line and of local runs. In the environment each has the prefix `TUNELANE_`."""

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
    """MLflow registry; empty: SQLite below the root."""

    deployment_uri: str = ""
    """Where models are deployed; empty: a local deployment below the root."""

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
        raise InputError(
            f"The variables of {_of_section(error)} cannot be read: one that holds several values must be JSON. "
            f"Set one value each, as in {PREFIX}GCP__PROJECT, or write JSON."
        ) from error
    except ValidationError as error:
        raise InputError(_where_and_what(error)) from error


def profile_path(profile: Path) -> Path:
    """Give the file of a profile: the path itself, or for a bare name the one in ./profiles.

    Raises:
        InputError: a bare name that no file has; names the nearest.
    """
    if profile.is_file() or profile.suffix or len(profile.parts) > 1:
        return profile
    path = PROFILES / f"{profile}.yaml"
    if path.is_file():
        return path
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


def named_variables() -> dict[str, str]:
    """Give every variable that begins as a setting's does, in capitals, with the place that it stands in.

    Raises:
        UnicodeDecodeError: `.env` is not UTF-8.
    """
    in_file = {} if not Path(DOTENV).is_file() else dotenv_values(DOTENV, encoding="utf-8")
    places = {
        **dict.fromkeys(map(str.upper, in_file), DOTENV),
        **dict.fromkeys(map(str.upper, os.environ), "environment"),
    }
    return {name: place for name, place in places.items() if name.startswith(PREFIX)}


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
            raise InputError(f"{path}: {_what(error, (name,))}") from error
    return values


def _where_and_what(error: ValidationError) -> str:
    """Say which variable or option is wrong, and how."""
    location = error.errors()[0]["loc"]
    variable = PREFIX + NESTED.join(map(str, location)).upper()
    written = {name: place for name, place in named_variables().items() if variable.startswith(name)}
    if not written:
        return _what(error)
    name = max(written, key=len)
    return f"{name} ({written[name]}): {_what(error)}"


def _what(error: ValidationError, above: tuple[str, ...] = ()) -> str:
    """Say what is wrong: a key that is none, with the nearest; or a value, which is shown unless it may be secret."""
    first = error.errors()[0]
    location = (*above, *map(str, first["loc"]))
    dotted = ".".join(location)
    section = section_types().get(location[0])
    if first["type"] == "extra_forbidden" and section is not None:
        near = no_such("setting", location[-1], section.model_fields)
        return near.replace(f"{location[-1]!r}", f"{dotted!r}", 1)
    if section is not None and (len(location) < 2 or get_type_hints(section).get(location[1]) is SecretStr):
        return f"{dotted}: {first['msg']}."
    return f"{dotted}: {first['msg']}, not {first['input']!r}."


def _of_section(error: SettingsError) -> str:
    """Give the section that pydantic-settings names in its error."""
    found = re.search(r'field "(\w+)"', str(error))
    return found[1] if found else "a section"
