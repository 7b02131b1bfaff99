"""The commands that messages advise: they can be copied, and mean the same runs and services as the one that spoke."""

import shlex
from pathlib import Path

from tunelane_pipelines.settings import load_settings
from tunelane_serving.errors import InputError


def again(words: str, root: Path, profile: Path | None = None) -> str:
    """Give the command `tunelane WORDS` with the options without which it would work on something else.

    Args:
        words: what follows `tunelane`, quoted for a shell where it needs to be.
        root: the root in force; named where the command would not come upon it by itself.
        profile: the profile in force; None: none.
    """
    options = [] if root.absolute() == _root_without_option(profile) else ["--root", str(short(root))]
    options += ["--profile", str(short(profile))] if profile is not None else []
    return " ".join(["tunelane", words, *(shlex.quote(option) for option in options)])


def short(path: Path) -> Path:
    """`path` as the user would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _root_without_option(profile: Path | None) -> Path | None:
    """The root that a command without --root takes: the environment's, the profile's, or the default."""
    try:
        return load_settings(profile).root
    except InputError:
        return None
