"""The Dockerfiles: clean, alike, true of the table of images; and the server's command and health check run."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tunelane_components.images import EXTRA_BY_IMAGE, SERVER, TRAINER
from tunelane_serving.package import package_digest
from tunelane_serving.server.options import parse

Read = Callable[[str], list[tuple[str, str]]]

_NAME_BY_IMAGE = {image: image.removeprefix("tunelane/").partition(":")[0] for image in EXTRA_BY_IMAGE}
_NAMES = sorted(_NAME_BY_IMAGE.values())
_WITH_MODEL = "server/with-model.Dockerfile"


def _all(instructions: list[tuple[str, str]], wanted: str) -> list[str]:
    return [rest for instruction, rest in instructions if instruction == wanted]


def _environment(instructions: list[tuple[str, str]]) -> dict[str, str]:
    """Variables of the last stage."""
    last = max(index for index, (instruction, _) in enumerate(instructions) if instruction == "FROM")
    pairs = [pair for rest in _all(instructions[last:], "ENV") for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def test_there_is_one_for_each_image(root: Path) -> None:
    assert sorted(path.parent.name for path in root.glob("containers/*/Dockerfile")) == _NAMES


@pytest.mark.parametrize("name", [*(f"{name}/Dockerfile" for name in _NAMES), _WITH_MODEL])
def test_hadolint_finds_nothing(root: Path, name: str) -> None:
    path = root / "containers" / name
    ended = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", path], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    lines = path.read_text().splitlines()
    for above, line in pairwise(lines):
        assert "hadolint ignore" not in line or re.match(r"# \w", above), f"{line}: say why in a comment above it"


@pytest.mark.parametrize("image", sorted(EXTRA_BY_IMAGE))
def test_it_installs_the_extra_of_the_table_under_the_constraints(dockerfile: Read, image: str) -> None:
    instructions = dockerfile(_NAME_BY_IMAGE[image])
    installs = [command for run in _all(instructions, "RUN") for command in run.split("&&") if "pip install" in command]
    dependencies, code = (shlex.split(command) for command in installs)
    assert dependencies == ["pip", "install", "--constraint", "constraints.txt", f".[{EXTRA_BY_IMAGE[image]}]"]
    assert "--no-deps" in code


@pytest.mark.parametrize("name", _NAMES)
def test_it_builds_on_one_logical_base_of_the_python_in_its_tag(dockerfile: Read, root: Path, name: str) -> None:
    instructions = dockerfile(name)
    assert instructions[0] == ("ARG", "BASE=python:3.11-slim")
    assert _all(instructions, "FROM") == ["${BASE} AS build", "${BASE}"]
    assert f"tunelane/{name}:python3.11" in EXTRA_BY_IMAGE
    # A syntax line fetches a front end from a registry before anything else.
    assert not re.search(r"^#\s*syntax", (root / "containers" / name / "Dockerfile").read_text(), re.MULTILINE)


def test_the_build_stages_differ_in_their_extra_alone(dockerfile: Read) -> None:
    stages = set()
    for name in _NAMES:
        instructions = dockerfile(name)
        end = instructions.index(("FROM", "${BASE}"))
        stages.add(re.sub(r"\.\[\w+\]", "", repr(instructions[:end])))
    assert len(stages) == 1


@pytest.mark.parametrize("name", _NAMES)
def test_what_it_copies_exists_and_reaches_the_build(dockerfile: Read, root: Path, name: str) -> None:
    copies = [rest.split() for rest in _all(dockerfile(name), "COPY") if not rest.startswith("--from")]
    sources = [source for copy in copies for source in copy[:-1]]
    assert sources
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    for source in sources:
        assert (root / source).exists()
        assert f"!{source}" in patterns


@pytest.mark.parametrize("name", _NAMES)
def test_it_runs_as_nobody_in_particular_and_writes_its_log_at_once(dockerfile: Read, name: str) -> None:
    instructions = dockerfile(name)
    assert _all(instructions, "USER") == ["10001:10001"]
    # Everything after that line belongs to the run; what is installed belongs to root and cannot be changed by it.
    after = [instruction for instruction, _ in instructions[instructions.index(("USER", "10001:10001")) :]]
    assert not {"RUN", "COPY", "ADD"} & set(after)
    environment = _environment(instructions)
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["PATH"] == "/opt/tunelane/bin:$PATH"


@pytest.mark.parametrize("name", _NAMES)
def test_its_entry_point_is_a_command_that_it_installs(dockerfile: Read, root: Path, name: str) -> None:
    (entry_point,) = _all(dockerfile(name), "ENTRYPOINT")
    command = json.loads(entry_point)[0]
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    assert command in {"python", *scripts}


def test_what_the_server_keeps_lies_in_a_directory_that_its_user_owns(dockerfile: Read) -> None:
    instructions = dockerfile("server")
    (home,) = _all(instructions, "WORKDIR")[-1:]
    kept = parse(["--package", "package"], {}).home
    made = next(
        command for rest in _all(instructions, "RUN") for command in rest.split("&&") if "install --d" in command
    )
    *options, directory = shlex.split(made)
    assert options == ["install", "--directory", "--owner=10001", "--group=10001"]
    assert (Path(home) / kept).is_relative_to(directory)


def test_the_variant_with_a_model_puts_the_package_where_the_server_s_command_looks(
    dockerfile: Read, root: Path, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    """Its one RUN is run here, as in the trainer's image: in the user's home, with the build's arguments."""
    lines = (root / "containers" / _WITH_MODEL).read_text()
    assert re.findall(r"^ARG (?:TRAINER|SERVER)=(.+)$", lines, re.MULTILINE) == [TRAINER, SERVER]
    (run,) = re.findall(r"^RUN (.+?[^\\])$", lines, re.DOTALL | re.MULTILINE)
    package = tiny_package(tmp_path / "made")
    digest = package_digest(package)
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def build(place: str, **arguments: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / place).mkdir()
        return subprocess.run(
            ["sh", "-c", run], cwd=tmp_path / place, env=environment | arguments, capture_output=True, text=True
        )

    built = build("one", MODEL=str(package), DIGEST=digest)
    assert built.returncode == 0, built.stderr
    assert built.stdout.splitlines()[-1] == digest
    assert build("other", MODEL=str(package), DIGEST="0" * 64).returncode != 0
    assert "Pass --build-arg MODEL=" in build("none").stderr
    copied, target = re.findall(r"^COPY --from=model (\S+) (\S+)$", lines, re.MULTILINE)[0]
    assert copied == f"{_all(dockerfile('trainer'), 'WORKDIR')[-1]}/package"
    assert package_digest(tmp_path / "one" / "package") == digest
    assert json.loads(_all(dockerfile("server"), "CMD")[0]) == ["--package", target]


@pytest.mark.parametrize("variable", ["PORT", "AIP_HTTP_PORT"])
def test_the_server_answers_on_the_port_of_the_environment_and_its_health_check_sees_it(
    dockerfile: Read, tiny_package: Callable[..., Path], tmp_path: Path, variable: str
) -> None:
    instructions = dockerfile("server")
    (health_check,) = _all(instructions, "HEALTHCHECK")
    probe = json.loads(health_check.partition("CMD ")[2])
    assert probe[0] == "python"
    command = json.loads(_all(instructions, "ENTRYPOINT")[0]) + json.loads(_all(instructions, "CMD")[0])
    assert command[0] == "tunelane-serve"
    assert _all(instructions, "EXPOSE") == ["8080"]

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {variable: str(port)}

    def check() -> int:
        return subprocess.run([sys.executable, *probe[1:]], env=environment, capture_output=True).returncode

    def serve(*arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "tunelane_serving.server", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    assert check() != 0
    package = tiny_package(tmp_path / "package")
    kept = ["--home", str(tmp_path / "home")]
    arguments = [argument.replace("/package", str(package)) for argument in command[1:]] + kept
    # Vertex AI has no deployment that could be followed.
    waiting = [*command[1:-2], "--deployment", str(tmp_path), "--mode", "standalone", *kept]
    for given, healthy in ((arguments, True), (waiting, False)):
        server = serve(*given)
        try:
            assert server.stdout is not None
            assert server.stdout.readline().decode().strip() == f"listening on http://0.0.0.0:{port}"
            deadline_s = time.monotonic() + 30
            while healthy and check() != 0:
                assert time.monotonic() < deadline_s
            assert (check() == 0) is healthy
        finally:
            server.terminate()
            server.communicate(timeout=30)
