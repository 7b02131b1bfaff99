"""What is wrong with a setting, in one line that shows no secret."""

import re
from collections.abc import Mapping
from typing import get_type_hints

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import SettingsError

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings.variables import NESTED, PREFIX, named_variables


def where_and_what(error: ValidationError, sections: Mapping[str, type[BaseModel]]) -> str:
    """Say which variable or option is wrong, and how."""
    location = error.errors()[0]["loc"]
    variable = PREFIX + NESTED.join(map(str, location)).upper()
    written = {name: place for name, place in named_variables().items() if variable.startswith(name)}
    if not written:
        return what(error, sections)
    name = max(written, key=len)
    return f"{name} ({written[name]}): {what(error, sections)}"


def what(error: ValidationError, sections: Mapping[str, type[BaseModel]], above: tuple[str, ...] = ()) -> str:
    """Say what is wrong: a key that is none, with the nearest; or a value, which is shown unless it may be secret.

    Args:
        error: the first of its errors is named.
        sections: those of the settings, by name.
        above: where the value that was validated stands.
    """
    first = error.errors()[0]
    location = (*above, *map(str, first["loc"]))
    dotted = ".".join(location)
    section = sections.get(location[0])
    if section is not None and len(location) == 1:
        return f"{dotted} has settings of its own. Set those, for instance {dotted}.{next(iter(section.model_fields))}."
    if first["type"] == "extra_forbidden" and section is not None:
        near = no_such("setting", location[-1], section.model_fields)
        return near.replace(f"{location[-1]!r}", f"{dotted!r}", 1)
    if section is not None and get_type_hints(section).get(location[1]) is SecretStr:
        return f"{dotted}: {first['msg']}."
    return f"{dotted}: {first['msg']}, not {first['input']!r}."


def unreadable_variables(error: SettingsError) -> str:
    """Say which section's variables hold several values and are not JSON."""
    found = re.search(r'field "(\w+)"', str(error))
    section = found[1] if found else "a section"
    return (
        f"The variables of {section} cannot be read: one that holds several values must be JSON. "
        f"Set one value each, as in {PREFIX}GCP__PROJECT, or write JSON."
    )
