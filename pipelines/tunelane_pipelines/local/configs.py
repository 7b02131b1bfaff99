"""Run configs: YAML files with the parameters of a run, by path or by the name of a shipped one."""

from pathlib import Path

from tunelane_serving.errors import InputError

_SHIPPED = Path(__file__).parents[1] / "configs"


def shipped_configs() -> list[str]:
    """The names of the shipped configs."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def config_path(config: str) -> Path:
    """A run config by path, or by the name of one that is shipped.

    Raises:
        InputError: there is neither; names the shipped ones. Or a directory above it may not be entered.
    """
    try:
        if Path(config).is_file():
            return Path(config)
    except OSError as error:
        raise InputError(f"{config}: {error.strerror}. Pass the path of a YAML file.") from error
    if config in shipped_configs():
        return _SHIPPED / f"{config}.yaml"
    names = ", ".join(shipped_configs())
    raise InputError(f"No such config: {config}. Pass a YAML file, or one of the shipped ones: {names}.")
