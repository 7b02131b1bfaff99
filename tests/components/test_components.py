"""What every KFP component must keep to: thin, self-contained, documented for the console."""

import ast
import builtins
import dis
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from kfp.dsl.python_component import PythonComponent

import tunelane_components

_FILES = sorted(Path(tunelane_components.__file__).parent.glob("*/component.py"))


def _components() -> dict[str, Any]:
    """Every KFP component of every stage, by name."""
    modules = [importlib.import_module(f"tunelane_components.{path.parent.name}.component") for path in _FILES]
    found = [item for module in modules for item in vars(module).values() if isinstance(item, PythonComponent)]
    return {component.python_func.__name__: component for component in found}


every_component = pytest.mark.parametrize("component", _components().values(), ids=lambda found: found.name)


def _file_id(path: Path) -> str:
    return path.parent.name


@pytest.mark.parametrize("path", _FILES, ids=_file_id)
def test_a_component_s_module_imports_only_kfp_and_its_image(path: Path) -> None:
    imported = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(isinstance(node, ast.ImportFrom) for node in imported), "no plain import"
    # Also keeps out `from __future__ import annotations`, which kfp cannot read.
    assert {node.module for node in imported} == {"kfp", "kfp.dsl", "tunelane_components.images"}


@pytest.mark.parametrize("path", _FILES, ids=_file_id)
def test_a_component_imports_what_there_is(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    for node in imports:
        module = importlib.import_module(node.module or "")
        missing = [name.name for name in node.names if not hasattr(module, name.name)]
        assert not missing, f"{node.module} has no {missing}"


@every_component
def test_a_component_s_body_stands_alone_as_it_is_embedded_as_text(component: Any) -> None:
    assert _globals_read(component.python_func.__code__) <= set(dir(builtins))


def _globals_read(code: CodeType) -> set[str]:
    """Names that the code, or a function inside it, looks for outside itself."""
    read = {instruction.argval for instruction in dis.get_instructions(code) if instruction.opname == "LOAD_GLOBAL"}
    return read.union(*(_globals_read(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


@every_component
def test_a_component_takes_only_what_every_target_carries(component: Any) -> None:
    for parameter in inspect.signature(component.python_func).parameters.values():
        annotation = parameter.annotation
        artifact = getattr(annotation, "__metadata__", None) is not None
        assert artifact or annotation in (str, int, float, bool), f"{parameter.name}: {annotation}"


@every_component
def test_a_component_explains_itself_and_each_argument(component: Any) -> None:
    function = component.python_func
    first, _, rest = inspect.getdoc(function).partition("\n")
    assert first.endswith(".")
    explained = re.findall(r"^ {4}(\w+): \S", rest, flags=re.MULTILINE)
    assert sorted(explained) == sorted(inspect.signature(function).parameters)


@every_component
def test_a_component_leaves_quickly_when_its_work_is_done(component: Any) -> None:
    (function,) = ast.parse(inspect.getsource(component.python_func)).body
    assert isinstance(function, ast.FunctionDef)
    first = next(node for node in function.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom))
    assert ast.unparse(first) == "leave_quickly()"


@every_component
def test_a_component_installs_nothing_when_it_runs(component: Any) -> None:
    container = component.component_spec.implementation.container
    assert "pip install" not in " ".join(map(str, [*container.command, *container.args]))


def test_importing_the_logic_of_every_stage_loads_no_heavy_package() -> None:
    """A light caller (a notebook, the command line) pays for torch only when it trains."""
    modules = {
        node.module
        for path in _FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tunelane_")
    }
    script = f"import importlib, sys\nfor name in {sorted(modules)}: importlib.import_module(name)\nprint(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "peft", "sklearn", "mlflow", "onnx", "onnxruntime", "kfp", "fsspec"}
    assert not heavy & set(finished.stdout.split())
