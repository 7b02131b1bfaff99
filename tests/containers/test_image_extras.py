"""What each image installs is enough for what runs in it: one environment an image, made as its Dockerfile makes it.

A machine with every extra hides a dependency that an extra lacks; it would show in the cluster, hours into a run.
"""

import ast
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tunelane_components
from tunelane_components.images import EXTRA_BY_IMAGE, IMAGE_BY_COMPONENT, SERVER

_ROOT = Path(__file__).parents[2]
_SOURCE = ("pyproject.toml", "README.md", "constraints.txt", "serving", "components", "pipelines")
_MODULE_ROOTS = {"tunelane_serving": "serving", "tunelane_components": "components", "tunelane_pipelines": "pipelines"}
_MAX_SERVER_MB = 250
# fsspec opens gs:// through gcsfs, and nobody imports that by name.
_BROUGHT_ALONG = {"fsspec": "gcsfs"}
# Imported where a package or a key file asks for them; without them it is refused with what to install. No image has
# TensorFlow: it would be larger than all the rest. On Google Cloud tokens come from the machine, not from a key.
_ASKED_FOR = {"tensorflow", "ai_edge_litert", "cryptography"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Reads {"logic": [...], "third_party": [...], "components": {name: source}}; writes what is missing, one line each.
# A component is loaded as kfp's executor loads it: from a file of its own, with _KFP_RUNTIME set.
_CHECK = """
import importlib, importlib.util, json, os, sys, tempfile
from pathlib import Path
asked = json.load(sys.stdin)
missing = []
for name in asked["logic"]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        missing.append(f"{name}: {error}")
for name in asked["third_party"]:
    try:
        found = importlib.util.find_spec(name) is not None
    except ImportError:
        found = False
    if not found:
        missing.append(name)
if asked["components"]:
    os.environ["_KFP_RUNTIME"] = "true"
    import kfp.dsl.executor_main
    from kfp.dsl import utils
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    for name, source in asked["components"].items():
        (folder / f"ephemeral_{name}.py").write_text(source, encoding="utf-8")
        module = utils.load_module(module_name=f"ephemeral_{name}", module_directory=str(folder))
        if not callable(getattr(module, name)):
            missing.append(f"component {name}")
print(json.dumps(missing))
"""


@dataclass
class Environment:
    """A virtual environment with this distribution, installed from a copy of the source tree."""

    directory: Path
    source: Path

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def size_mb(self) -> float:
        return sum(path.lstat().st_size for path in self.directory.rglob("*") if path.is_file()) / 1e6

    def install(self, extra: str) -> None:
        constraints = self.source / "constraints.txt"
        self._pip(
            "install", "--quiet", "--constraint", constraints, f"{self.source}[{extra}]" if extra else self.source
        )

    def missing(self, **asked: object) -> list[str]:
        """Names that cannot be imported here."""
        given = {"logic": [], "third_party": [], "components": {}} | asked
        # From the environment's own directory: the checkout beside the tests must not be what is imported.
        told = _run(self.python, "-c", _CHECK, cwd=self.directory, given=json.dumps(given))
        return list(json.loads(told.splitlines()[-1]))

    def installed(self) -> set[str]:
        """Distributions, by name in lower case."""
        return {package["name"].lower() for package in json.loads(self._pip("list", "--format", "json"))}

    def _pip(self, *arguments: str | Path) -> str:
        return _run(sys.executable, "-m", "pip", "--python", self.python, *arguments, cwd=self.directory)


def _run(*command: str | Path, cwd: Path, given: str | None = None) -> str:
    ended = subprocess.run(command, input=given, capture_output=True, text=True, cwd=cwd)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    source = tmp_path / "source"
    source.mkdir()
    for name in _SOURCE:
        if (_ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(_ROOT / name, source / name, ignore=ignore)
        else:
            shutil.copy(_ROOT / name, source)
    _run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    yield Environment(tmp_path / "venv", source)
    # The trainer's has 2 GB, and pytest keeps the directories of three runs.
    shutil.rmtree(tmp_path / "venv")


@pytest.mark.parametrize("image", sorted(set(IMAGE_BY_COMPONENT.values())))
def test_every_component_finds_in_its_image_all_that_it_imports(environment: Environment, image: str) -> None:
    names = [name for name, runs_in in IMAGE_BY_COMPONENT.items() if runs_in == image]
    bodies = _component_bodies(environment.source)
    logic, third_party = _closure(environment.source, [bodies[name] for name in names])
    assert logic
    assert third_party
    environment.install(EXTRA_BY_IMAGE[image])
    components = {name: _embedded_source(name) for name in names}
    missing = environment.missing(logic=sorted(logic), third_party=sorted(third_party), components=components)
    assert missing == []


def test_the_server_runs_on_its_own_image_which_is_small_and_knows_nothing_of_training(
    environment: Environment,
) -> None:
    for extra in ("", EXTRA_BY_IMAGE[SERVER]):
        environment.install(extra)
        print(f"{extra or 'base'}: {environment.size_mb:.0f} MB")  # noqa: T201 - shown by pytest -s
        assert environment.size_mb < _MAX_SERVER_MB
        logic, third_party = _closure(environment.source, [ast.parse("import tunelane_serving.server.command")])
        assert environment.missing(logic=sorted(logic), third_party=sorted(third_party)) == []
    installed = environment.installed()
    assert installed & {"torch", "transformers", "kfp", "mlflow", "mlflow-skinny", "typer", "tensorflow"} == set()
    # SQLAlchemy imports the driver that the URL names.
    assert "psycopg" in installed


def _component_bodies(source: Path) -> dict[str, ast.AST]:
    """The function of every component, by name."""
    files = (source / "components" / "tunelane_components").glob("*/component.py")
    nodes = [node for file in files for node in ast.parse(file.read_text()).body]
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}


def _closure(source: Path, roots: list[ast.AST]) -> tuple[set[str], set[str]]:
    """Own modules that `roots` reach, imports inside functions included, and the third-party modules those name."""
    own: set[str] = set()
    third_party: set[str] = set()
    waiting = list(roots)
    while waiting:
        for name in _imported(source, waiting.pop()):
            top = name.partition(".")[0]
            if top in _MODULE_ROOTS:
                if name not in own:
                    own.add(name)
                    waiting.append(ast.parse(_module_file(source, name).read_text()))
            elif top not in sys.stdlib_module_names:
                third_party.add(name)
    needed = {name for name in third_party if name.partition(".")[0] not in _ASKED_FOR}
    return own, needed | {_BROUGHT_ALONG[name] for name in needed & _BROUGHT_ALONG.keys()}


def _imported(source: Path, tree: ast.AST) -> set[str]:
    """Modules that a tree imports anywhere; `from package import module` names the module of ours."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module.partition(".")[0] in _MODULE_ROOTS:
                below = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name for name in below if _module_file(source, name).exists()}
    return names


def _module_file(source: Path, name: str) -> Path:
    path = source / _MODULE_ROOTS[name.partition(".")[0]] / Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _embedded_source(name: str) -> str:
    """The text that the compiled pipeline carries for a component."""
    for file in Path(tunelane_components.__file__).parent.glob("*/component.py"):
        module = importlib.import_module(f"tunelane_components.{file.parent.name}.component")
        if hasattr(module, name):
            return str(getattr(module, name).component_spec.implementation.container.command[-1])
    raise AssertionError(name)
