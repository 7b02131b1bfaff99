"""Fixtures for every test: a tiny but real model package, built in milliseconds, databases, and a browser."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

import msgspec
import numpy as np
import pytest
from hypothesis import settings

from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.package import (
    TOKENIZER,
    BaseModel,
    Golden,
    Manifest,
    Task,
    Tensor,
    Variant,
    describe_files,
    seal,
)
from tunelane_serving.taxonomy import Label, Taxonomy

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# How long an example takes says what else this machine does.
settings.register_profile("tunelane", deadline=None)
settings.load_profile("tunelane")

_MAX_LENGTH_TOKENS = 32
_LAST_LABEL_WORDS = ("good", "great", "love")
_FIRST_LABEL_WORDS = ("bad", "awful", "hate")
_OTHER_WORDS = ("a", "the", "film", "was", "it", "so", "and")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SMALLEST_DRAWN_TEXT = """Math.min(99, ...[...document.querySelectorAll('svg text')].map(text =>
  parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a))"""
_GOLDEN_TEXTS = ("good film", "it was a bad film", "the film", "great and awful and good")


@pytest.fixture(scope="session")
def tiny_package() -> Callable[..., Path]:
    """Give a factory of model packages: a real ONNX graph, a real tokenizer and golden rows.

    `tiny_package(directory, labels=("negative", "positive"), bias=(0.0, 0.0), task="single_label")` fills `directory`
    and returns it. Each known word adds to one label's logit: a label's own name (lower case) to that label,
    good/great/love to the last label, bad/awful/hate to the first. Another `bias` (added to the logits; missing numbers
    are 0) gives another digest.
    """
    return _build_package


# Not of the session: while it is there, Playwright's event loop keeps `asyncio.run` from working in this process.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Start Chromium, driven by Playwright's sync API."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if executable is None:
        pytest.fail("install chromium: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_BROWSER_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def check_page(browser: "Browser") -> Callable[[str], None]:
    """Give a check of an HTML document, at 1280 and 360 px, light and dark.

    Nothing may overflow the page sideways, be an error on the console, leave for the network, or be text in a drawing
    of less than 11 px.
    """

    def check(html: str) -> None:
        page = browser.new_page()
        said: list[str] = []
        asked_for: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.route("**/*", lambda route: (asked_for.append(route.request.url), route.abort()))
        page.set_content(html)
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                wide, visible = page.evaluate(
                    "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
                )
                assert wide <= visible, f"{wide} px wide on {width}"
                assert page.evaluate(_SMALLEST_DRAWN_TEXT) >= 11
        page.close()
        assert (said, asked_for) == ([], [])

    return check


def _build_package(
    directory: Path,
    labels: Sequence[str] = ("negative", "positive"),
    bias: Sequence[float] = (0.0, 0.0),
    task: Task = "single_label",
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    label_by_word: dict[str, int | None] = dict.fromkeys(_OTHER_WORDS)
    label_by_word |= dict.fromkeys(_FIRST_LABEL_WORDS, 0) | dict.fromkeys(_LAST_LABEL_WORDS, len(labels) - 1)
    label_by_word |= {name.lower(): index for index, name in enumerate(labels)}
    vocabulary = {word: index for index, word in enumerate(("[UNK]", "[CLS]", *label_by_word))}
    _write_tokenizer(directory / TOKENIZER, vocabulary)

    # One-hot rows: the mean over a text's words is the share of words that speak for each label.
    embedding = np.zeros((len(vocabulary), len(labels)), np.float32)
    for word, label in label_by_word.items():
        if label is not None:
            embedding[vocabulary[word], label] = 1.0
    # A text that speaks for no label stays below every threshold of a multi-label task.
    padded_bias = np.full(len(labels), -2.0, np.float32)
    padded_bias[: len(bias)] += bias
    (directory / "onnx").mkdir(exist_ok=True)
    _write_graph(directory / "onnx" / "model.onnx", embedding, padded_bias)

    manifest = Manifest(
        framework="onnx",
        task=task,
        files=describe_files(directory),
        variants=(Variant("fp32", "onnx/model.onnx", golden_tolerance=1e-4),),
        inputs=(
            Tensor("input_ids", "int64", ("batch", "sequence")),
            Tensor("attention_mask", "int64", ("batch", "sequence")),
        ),
        outputs=(Tensor("logits", "float32", ("batch", len(labels))),),
        max_length_tokens=_MAX_LENGTH_TOKENS,
        base_model=BaseModel("tiny", "Apache-2.0"),
        taxonomy=Taxonomy(tuple(Label(name) for name in labels)),
    )
    seal(directory, manifest)
    classifier = TextClassifier.open(directory)
    goldens = tuple(
        Golden(text, {"fp32": tuple(float(score) for score in classifier.scores(text))}) for text in _GOLDEN_TEXTS
    )
    seal(directory, msgspec.structs.replace(manifest, goldens=goldens))
    return directory


def _write_tokenizer(path: Path, vocabulary: dict[str, int]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text, not a secret
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", vocabulary["[CLS]"])])
    tokenizer.save(str(path))


def _write_graph(path: Path, embedding: np.ndarray, bias: np.ndarray) -> None:
    """Masked mean of word embeddings (vocabulary, labels), times 8, plus bias: logits (batch, labels) float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    labels = len(bias)
    initializers = {
        "embedding": embedding,
        "head": 8.0 * np.eye(labels, dtype=np.float32),
        "bias": bias,
        "last_axis": np.array([2], np.int64),
        "token_axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask_column"]),
        helper.make_node("Mul", ["words", "mask_column"], ["masked"]),
        helper.make_node("ReduceMean", ["masked", "token_axis"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("batch", "sequence")),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ("batch", "sequence")),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", labels))],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make MLflow's tables, empty: making them takes a second."""
    from mlflow.tracking import MlflowClient

    database = tmp_path_factory.mktemp("made") / "registry.db"
    MlflowClient(f"sqlite:///{database}", f"sqlite:///{database}").search_registered_models()
    return database


class PostgresServer:
    """A PostgreSQL of Debian's in a directory of its own, reached through a socket in it."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(directory, _unprivileged_user())
        with self._log() as log:
            made = self._begin(
                log, "initdb", "--username=tunelane", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"
            )
            if made.wait(timeout=60):
                raise RuntimeError(f"initdb: {self._said()}")

    def url(self) -> str:
        return f"postgresql://tunelane@/postgres?host={self._directory}"

    def start(self) -> None:
        with self._log() as log:
            self._process = self._begin(
                log, "postgres", "-k", str(self._directory), "-c", "listen_addresses=", "-c", "shared_buffers=16MB"
            )
        for _ in range(600):
            try:
                return self.execute("SELECT 1")
            except Exception as error:
                if self._process.poll() is not None:
                    raise RuntimeError(f"postgres: {self._said()}") from error
                time.sleep(0.1)
        raise RuntimeError("postgres: it did not start within a minute")

    def stop(self) -> None:
        """Stop at once, as a crash would: what was committed must have been written."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=60)
            self._process = None

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _begin(self, log: IO[bytes], program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [str(self._programs / program), "-D", str(self._directory / "data"), *arguments]
        if shutil.which("setpriv") is not None:
            # Tests that are killed do not leave it running.
            command = ["setpriv", "--pdeathsig", "QUIT", *command]
        # initdb and the server refuse to run as root.
        user = pwd.getpwnam(_unprivileged_user()) if os.geteuid() == 0 else None
        return subprocess.Popen(
            command,
            cwd="/",
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def _log(self) -> IO[bytes]:
        return (self._directory / "log").open("ab")

    def _said(self) -> str:
        return (self._directory / "log").read_text()[-2000:]


@pytest.fixture(scope="session")
def give_up() -> Callable[[str], NoReturn]:
    """Give what ends a test that lacks a program: as skipped, but as failed in CI or with TUNELANE_REQUIRE_PROGRAMS."""

    def give_up(word: str) -> NoReturn:
        if os.environ.get("CI") or os.environ.get("TUNELANE_REQUIRE_PROGRAMS"):
            pytest.fail(word, pytrace=False)
        pytest.skip(word)

    return give_up


@pytest.fixture(scope="session")
def postgres_server(give_up: Callable[[str], NoReturn]) -> Iterator[PostgresServer]:
    """Start a PostgreSQL; give up where there is none."""
    programs = _postgres_programs()
    if programs is None:
        give_up("install PostgreSQL 15 or newer: apt-get install postgresql")
    # Not pytest's own directory: that one is closed to other users, and too long for a socket's name.
    directory = Path(tempfile.mkdtemp(prefix="tunelane-postgres-"))
    try:
        server = PostgresServer(programs, directory)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """Give the URL of a running PostgreSQL's maintenance database; make your own databases in it."""
    return postgres_server.url()


@pytest.fixture
def postgres_database_url(postgres_server: PostgresServer) -> str:
    """Give the URL of an empty PostgreSQL database.

    It is a schema of its own: making and dropping a database waits for the disk, for seconds on a busy one.
    """
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.execute(f"CREATE SCHEMA {name}")
    return f"{postgres_server.url()}&options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database: each test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tunelane.db'}"
    url: str = request.getfixturevalue("postgres_database_url")
    return url


def _postgres_programs() -> Path | None:
    """Directory of the newest PostgreSQL's programs, 15 at least; Debian keeps them off the path."""
    directories = sorted(
        (path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()),
        key=lambda path: int(path.parent.name),
        reverse=True,
    )
    on_path = shutil.which("pg_ctl")
    if on_path is not None:
        directories.append(Path(on_path).resolve().parent)
    for directory in directories:
        if (directory / "initdb").exists() and (directory / "pg_ctl").exists():
            said = subprocess.run([directory / "postgres", "--version"], capture_output=True, text=True).stdout
            version = re.search(r"\d+", said)
            if version is not None and int(version.group()) >= 15:
                return directory
    return None


def _unprivileged_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
