"""Variables that hold settings: how they are written, and which of them stand where."""

import os
from pathlib import Path

from dotenv import dotenv_values

PREFIX = "TUNELANE_"
"""What the variable of a setting begins with."""

NESTED = "__"
"""What stands between a section and its setting in a variable: TUNELANE_GCP__PROJECT."""

DOTENV = ".env"
"""File with variables, in the working directory."""


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
