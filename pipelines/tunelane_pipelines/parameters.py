"""What a user passes to a pipeline, checked against the pipeline's own signature."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from tunelane_pipelines.nearest import no_such
from tunelane_serving.errors import InputError


def _not_bool(value: Any) -> Any:
    """Python counts true as 1; a user who writes `rows: true` has made a mistake."""
    if isinstance(value, bool):
        raise ValueError("a truth value is not a number")
    return value


_CHECKED_BY_TYPE: dict[type, Any] = {
    str: str,
    int: Annotated[int, BeforeValidator(_not_bool)],
    float: Annotated[float, BeforeValidator(_not_bool)],
    bool: bool,
}
_WANTED_BY_TYPE = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def parameter_model(pipeline: Any) -> type[BaseModel]:
    """Describe the parameters of a pipeline as a pydantic model: names, types, defaults, and which are required.

    Args:
        pipeline: what `@dsl.pipeline` or `@dsl.component` made, or the plain function.

    Raises:
        TypeError: a parameter is not annotated as str, int, float or bool.
    """
    function = _function(pipeline)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.annotation not in _CHECKED_BY_TYPE:
            raise TypeError(f"{function.__name__}: parameter {name!r} must be annotated as str, int, float or bool")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (_CHECKED_BY_TYPE[parameter.annotation], default)
    return create_model(function.__name__, __config__=ConfigDict(allow_inf_nan=False), **fields)


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """`["rows=100", ...]`, as `--set` takes them, to a mapping; the last of two for one name counts.

    Raises:
        InputError: one has no `=`, or no name before it.
    """
    parsed: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise InputError(f"Cannot read --set {assignment!r}. Write it as NAME=VALUE, for instance --set rows=100.")
        parsed[name.strip()] = value
    return parsed


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML file of `name: value` lines; an empty one gives an empty mapping.

    Raises:
        InputError: it is missing, not UTF-8, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Pass the path of a YAML file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError) as error:  # a date that is in no calendar, a number that is none
        raise InputError(f"{path}{_place(error)}. Correct the YAML there.") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path}: not a mapping of names to values. Write one `name: value` a line.")
    return content


def check_parameters(pipeline: Any, config: Mapping[str, Any], assignments: Mapping[str, str]) -> dict[str, Any]:
    """Every parameter of `pipeline` with its value: from `assignments`, else `config`, else the default.

    Text is read as the type that the parameter has ("0" as 0, "true" as True).

    Raises:
        InputError: a name that the pipeline does not have, a value of another type, or a required one missing.
    """
    model = parameter_model(pipeline)
    given = {**config, **assignments}
    for name in given:
        if name not in model.model_fields:
            raise InputError(no_such("parameter", name, model.model_fields))
    missing = [name for name, field in model.model_fields.items() if field.is_required() and name not in given]
    if missing:
        options = " ".join(f"--set {name}=VALUE" for name in missing)
        raise InputError(f"No value for {', '.join(missing)}. Pass {options}, or write it into the config file.")
    try:
        return model.model_validate(given).model_dump()
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        wanted = _WANTED_BY_TYPE[inspect.signature(_function(pipeline)).parameters[name].annotation]
        where = f"--set {name}={given[name]}" if name in assignments else f"{name}: {given[name]!r} in the config"
        raise InputError(f"Parameter {name!r} wants {wanted}; correct {where}.") from error


def _function(pipeline: Any) -> Any:
    """Find the plain function inside what kfp made of it."""
    for attribute in ("pipeline_func", "python_func"):
        if hasattr(pipeline, attribute):
            return getattr(pipeline, attribute)
    return pipeline


def _place(error: yaml.YAMLError | ValueError) -> str:
    """`:line: what is wrong`, as far as the parser says."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f":{error.problem_mark.line + 1}: {error.problem}"
    return f": {' '.join(str(error).split())}"
