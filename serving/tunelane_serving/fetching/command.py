"""`tunelane-ensure-model`: get a model package onto this machine, at the build of an image or at run time."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tunelane_serving.errors import TunelaneError
from tunelane_serving.fetching.ensure import ensure_model
from tunelane_serving.files import home_expanded

# 128 and the number of SIGINT, as shells say it.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the package's directory and its digest, a line each.

    Returns:
        0, 1 (it cannot be had), 2 (bad input) or 130 (interrupted).
    """
    options = _parser().parse_args(arguments)
    try:
        package = ensure_model(options.source, options.digest, options.home or default_home(), say=_say)
    except TunelaneError as error:
        print(f"tunelane-ensure-model: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return error.exit_code
    except KeyboardInterrupt:
        print("tunelane-ensure-model: interrupted", file=sys.stderr)  # noqa: T201 - likewise
        return _INTERRUPTED
    print(package, package.name, sep="\n")  # noqa: T201 - likewise
    return 0


def default_home() -> Path:
    """Where packages are kept: `models` in $TUNELANE_CACHE_DIR, $XDG_CACHE_HOME/tunelane or ~/.cache/tunelane.

    Raises:
        InputError: the home directory is not known.
    """
    given = os.environ.get("TUNELANE_CACHE_DIR")
    cache = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tunelane"
    return home_expanded(cache).absolute() / "models"


def _say(step: str) -> None:
    print(step, file=sys.stderr, flush=True)  # noqa: T201 - progress


class _Parser(argparse.ArgumentParser):
    """Errors on one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tunelane-ensure-model", description=__doc__)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a package (directory, archive, gs://, https://), or a checkpoint, sample:// or hub id to build one of",
    )
    parser.add_argument("--digest", metavar="SHA256", help="the package's expected digest; needed for what is remote")
    parser.add_argument(
        "--home",
        type=Path,
        help="where packages are kept (default: models in $TUNELANE_CACHE_DIR, else in ~/.cache/tunelane)",
    )
    return parser
