"""Every command in the README and the documentation, run as it is written."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import PAGES, Block, blocks, name
from tunelane_components.etl.record import Record
from tunelane_components.etl.taxonomy import load_taxonomy
from tunelane_components.images import EXTRA_BY_IMAGE, IMAGE_BY_COMPONENT
from tunelane_pipelines.compiling.images import read_images
from tunelane_serving.contract import decode

_SLOW, _SERVER, _NOT_HERE, _OUTPUT = "run: slow", "run: server", "run: not here, because ", "output"
_PYTHON = "run: python"

# What no test can run, with nothing else among it.
_NOT_RUN = {
    "make test    # lint, types, import contracts and every test",
    "make test",
    "make lint",
    '.venv/bin/pytest -n 2 --dist loadfile -m "not slow"',
    ".venv/bin/pytest -m slow",
    "tunelane --install-completion",
    "tunelane submit train-classifier --target vertex --profile prod",
    'tunelane schedule create train-classifier --target vertex --profile prod --name weekly --cron "0 3 * * MON"',
    "tunelane runs list --refresh --profile prod",
    "tunelane schedule list --profile prod",
    "POSTGRES_PASSWORD=... GRAFANA_PASSWORD=... docker compose -f containers/docker-compose.yml up --build",
    "gcloud builds submit --substitutions _REGION=europe-west1,_BUCKET=my-pipelines",
    "tunelane data build exports --config tests/data/childcare/jsonl.yaml --output both --runner beam",
    "tunelane data build gs://my-bucket/exports --config tests/data/childcare/jsonl.yaml --output both --runner beam "
    "--set workspace=gs://my-bucket/work --beam-option --runner=DataflowRunner --beam-option --project=my-project "
    "--beam-option --region=europe-west1 --beam-option --temp_location=gs://my-bucket/temp "
    "--beam-option --sdk_container_image=registry.example/tunelane/trainer:1.0",
    "tunelane-serve --package .tunelane/deployments/sentiment/revisions/DIGEST --expected-digest DIGEST "
    "--name sentiment",
    "tunelane-ensure-model sentence-transformers/all-MiniLM-L6-v2 --home models",
    "tunelane-serve --model gs://my-bucket/packages/sentiment --expected-digest DIGEST",
    "export TUNELANE_DATABASE_URL=postgresql://tunelane@db.example/tunelane",
    "tunelane-serve --repository --packages gs://my-bucket/packages --api-keys keys.json",
    "docker build -f containers/server/Dockerfile -t tunelane/server:python3.11 .",
    "docker build -f containers/trainer/Dockerfile -t tunelane/trainer:python3.11 .",
    "docker build -f containers/server/with-model.Dockerfile -t encoder "
    "--build-arg MODEL=sentence-transformers/all-MiniLM-L6-v2 .",
    "docker run --rm --publish 8080:8080 --volume tunelane:/home/tunelane/.tunelane encoder "
    "--package /package --name encoder",
    "gcloud run deploy sentiment --region=europe-west1 --image=registry.example/sentiment:1 --cpu=2 --memory=1Gi "
    "--no-cpu-throttling --concurrency=32 --min-instances=1 --no-allow-unauthenticated "
    "--args=--package,/package,--name,sentiment "
    "--set-secrets=TUNELANE_DATABASE_URL=database-url:latest,TUNELANE_API_KEYS=api-keys:latest",
    "gcloud ai models upload --region=europe-west1 --display-name=sentiment "
    "--container-image-uri=europe-west1-docker.pkg.dev/my-project/tunelane/server:1 "
    "--artifact-uri=gs://my-bucket/packages/sentiment --container-args=--expected-digest=DIGEST,--name=sentiment "
    "--container-predict-route=/vertex/predict --container-health-route=/vertex/health --container-ports=8080",
    "gcloud ai endpoints deploy-model ENDPOINT --region=europe-west1 --model=MODEL --display-name=sentiment "
    "--machine-type=n1-standard-2 --traffic-split=0=100",
    "tunelane models rollback sentiment",
    "pip install ./daybook",
    "tunelane data build daybook.txt --set source_format=daybook --set multi_label=true",
}
# Its commands are for services: another test here holds those of other tools against what these understand, and one in
# tests/cloud runs those of Tunelane on fakes.
_PAGE_OF_CLOUDS = "docs/cloud.md"
_PAGES_WITH_COMMANDS = [page for page in PAGES if any(block.language == "sh" for block in blocks(page))]
_PAGES_THAT_TRAIN = [page for page in PAGES if any(block.note == _SLOW for block in blocks(page))]
_TIMEOUT_S = 600
_DOCUMENTED_ADDRESS = "localhost:8080"
# A word with a digit in it: a number, an id, a digest, a version, a path with one of them.
_VARIABLE = re.compile(r"[\w.+-]*\d[\w.+-]*")


class Shell:
    """A user who types a page's blocks in a copy of the repository."""

    def __init__(self, place: Path, environment: dict[str, str]) -> None:
        self.place = place
        self._environment = {**environment, "PATH": f"{place / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}"}
        # The documentation's port may be taken here: the server and those who ask it get another one.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    def type(self, block: Block) -> str:
        """Run a block line by line; each must succeed. Gives what was printed."""
        return "".join(self._run("sh", "-c", self._here(line)) for line in block.commands)

    def run_python(self, block: Block) -> None:
        """Run a block of Python; it must succeed."""
        self._run("python", "-c", self._here(block.text))

    def _here(self, text: str) -> str:
        return text.replace(_DOCUMENTED_ADDRESS, f"127.0.0.1:{self._port}")

    def _run(self, *command: str) -> str:
        finished = subprocess.run(
            command,
            cwd=self.place,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert finished.returncode == 0, f"{command[-1]}\n{finished.stdout[-3000:]}{finished.stderr[-3000:]}"
        return finished.stdout

    @contextmanager
    def serving(self, block: Block) -> Iterator[None]:
        """Run a block's server until the context ends."""
        (line,) = block.commands
        command = [*shlex.split(line), "--port", str(self._port)]
        process = subprocess.Popen(
            command,
            cwd=self.place,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline().startswith("listening on ")
                yield
            finally:
                process.terminate()


def _read_through(page: Path, shell: Shell, *, train: bool) -> None:
    """Type a page from its top to its end; where `train` is false, without the blocks that train."""
    printed = ""
    with ExitStack() as servers:
        for block in blocks(page):
            if block.note == _OUTPUT:
                assert _shape(printed) == _shape(block.text)
            elif block.note == _PYTHON:
                shell.run_python(block)
            elif block.language != "sh" or block.note.startswith(_NOT_HERE):
                continue
            elif block.note == _SERVER:
                # The page has its reader stop the one before.
                servers.close()
                servers.enter_context(shell.serving(block))
            elif block.note != _SLOW or train:
                _bring_a_checkpoint(shell.place)
                printed = shell.type(block)


def _shape(printed: str) -> str:
    """What was printed, without what differs from run to run and without white space."""
    return re.sub(r"\s", "", _VARIABLE.sub("#", printed))


def _bring_a_checkpoint(place: Path) -> None:
    """Put the newest run's checkpoint at my-model/: the model that was trained elsewhere."""
    trained = sorted(place.glob(".tunelane/runs/*/artifacts/*/train-lora/model"), key=lambda path: path.stat().st_mtime)
    if trained:
        shutil.rmtree(place / "my-model", ignore_errors=True)
        shutil.copytree(trained[-1], place / "my-model")


@pytest.mark.parametrize("page", _PAGES_WITH_COMMANDS, ids=name)
def test_the_commands_of_a_page_run(page: Path, used_clone: Path, shell_environment: dict[str, str]) -> None:
    _read_through(page, Shell(used_clone, shell_environment), train=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", _PAGES_THAT_TRAIN, ids=name)
def test_a_page_that_trains_runs_from_its_top_to_its_end(
    page: Path, clone: Callable[[], Path], shell_environment: dict[str, str]
) -> None:
    _read_through(page, Shell(clone(), shell_environment), train=True)


def test_a_command_that_fails_is_seen(used_clone: Path, shell_environment: dict[str, str]) -> None:
    shell = Shell(used_clone, shell_environment)
    with pytest.raises(AssertionError, match="no-such-pipeline"):
        shell.type(Block("sh", "tunelane --help\ntunelane run no-such-pipeline\n", ""))


def test_what_is_not_run_is_listed_here() -> None:
    pages = [page for page in PAGES if name(page) != _PAGE_OF_CLOUDS]
    found = [block for page in pages for block in blocks(page) if block.note.startswith(_NOT_HERE)]
    assert {line for block in found for line in block.commands} == _NOT_RUN


def test_every_block_is_of_a_known_kind() -> None:
    for page in PAGES:
        previous = ""
        for block in blocks(page):
            assert block.language in ("sh", "text", "json", "yaml", "python", "toml"), f"{name(page)}: {block}"
            if block.language == "sh":
                known = block.note in ("", _SLOW, _SERVER) or block.note.startswith(_NOT_HERE)
                assert known, f"{name(page)}: {block.note}"
            elif block.note == _PYTHON:
                assert block.language == "python", name(page)
            elif block.note == _OUTPUT:
                assert previous == "sh", f"{name(page)}: nothing prints {block.text}"
            if block.language == "json":
                json.loads(block.text)
            if block.language == "yaml":
                yaml.safe_load(block.text)
            previous = block.language


def test_the_examples_of_contracts_are_valid(tmp_path: Path) -> None:
    (page,) = [page for page in PAGES if name(page) == "docs/concepts.md"]
    record, taxonomy, images = [block for block in blocks(page) if block.language in ("json", "yaml")]
    assert decode(record.text.encode(), Record, "record").labels == ("positive",)
    (tmp_path / "taxonomy.yaml").write_text(taxonomy.text)
    assert load_taxonomy(tmp_path / "taxonomy.yaml").names == ("billing", "shipping", "account")
    (tmp_path / "images.json").write_text(images.text)
    assert read_images(tmp_path / "images.json", required=set(IMAGE_BY_COMPONENT.values()), known=EXTRA_BY_IMAGE)


def test_the_server_s_options_are_all_there(used_clone: Path, shell_environment: dict[str, str]) -> None:
    printed = Shell(used_clone, shell_environment).type(Block("sh", "tunelane-serve --help\n", ""))
    page = next(page for page in PAGES if name(page) == "docs/serving.md").read_text()
    assert set(re.findall(r"^  (--[\w-]+)", printed, re.MULTILINE)) == set(
        re.findall(r"^\| `(--[\w-]+)", page, re.MULTILINE)
    )
