"""The arguments of `tunelane-serve`, and the environment variables of the places that start it."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NoReturn

from tunelane_serving.cores import usable_cores
from tunelane_serving.server.limits import Limits

Mode = Literal["standalone", "serverless"]

_MAX_WORKERS = 1024
_LIMIT_HELP = {
    "max_body_bytes": "largest request body",
    "max_texts": "most texts in one request",
    "max_text_chars": "longest text",
    "max_products": "most products in one request",
    "max_waiting": "most items that wait for a worker; the next are refused with 503",
    "max_connections": "most connections at a time; on those past them requests are refused with 503",
    "inference_timeout_s": "seconds until a request that has no answer yet is refused with 503",
    "max_upload_bytes": "largest upload",
    "max_unpacked_bytes": "largest unpacked upload",
    "max_unpacked_files": "most files in an upload",
    "max_models": "most models of the repository in memory",
    "max_model_bytes": "most memory for models of the repository",
}


@dataclass(frozen=True)
class Options:
    """What the server was asked to do."""

    package: Path | None
    deployment: Path | None
    model: str | None
    repository: bool
    expected_digest: str | None
    name: str | None
    fallback_taxonomy: Path | None
    host: str
    port: int
    workers: int
    mode: Mode
    home: Path
    database: str | None
    packages: str | None
    api_keys: Path | None
    max_batch: int
    batch_digests: tuple[str, ...]
    answer_cache_bytes: int
    keep_events_days: int
    hash_inputs: bool
    access_log: bool
    allow_saved_models: bool
    cors_origins: tuple[str, ...]
    limits: Limits


class _Parser(argparse.ArgumentParser):
    """Errors on one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parse(arguments: Sequence[str] | None, environment: Mapping[str, str] = os.environ) -> Options:
    """Read the arguments; ends the process with exit code 2 and one line where they cannot be used."""
    # What Cloud Run and Vertex AI set: https://cloud.google.com/run/docs/container-contract,
    # https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
    hosted = bool(environment.get("K_SERVICE") or environment.get("AIP_HTTP_PORT"))
    parser = parser_of(environment, hosted=hosted)
    found = parser.parse_args(arguments)
    if not (found.package or found.deployment or found.model or found.repository):
        if not environment.get("AIP_STORAGE_URI"):
            parser.error("one of the arguments --package --deployment --model --repository is required")
        found.model = environment["AIP_STORAGE_URI"]
    _require_together(parser, found)
    limits = Limits(**{field.name: getattr(found, field.name) for field in fields(Limits)})
    known = {field.name for field in fields(Options)} - {"limits"}
    values = {name: value for name, value in vars(found).items() if name in known}
    values["batch_digests"] = tuple(found.batch_digests)
    values["cors_origins"] = tuple(found.cors_origins)
    return Options(**values, limits=limits)


def _require_together(parser: _Parser, found: argparse.Namespace) -> None:
    """End the process where an option would say nothing: what it is about stands elsewhere."""
    if found.name is not None and not (found.package or found.model):
        parser.error("--name goes with --package or --model; the models of a deployment or repository have names")
    if found.fallback_taxonomy is not None and found.repository:
        parser.error("--fallback-taxonomy goes with --package, --model or --deployment; a repository has no fallback")


def parser_of(environment: Mapping[str, str], *, hosted: bool) -> _Parser:
    """Make the parser; its defaults follow the environment."""
    parser = _Parser(
        prog="tunelane-serve",
        description="Serve model packages over HTTP: ONNX Runtime, no torch.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to serve").add_mutually_exclusive_group()
    what.add_argument("--package", type=Path, metavar="DIR", help="serve this one package")
    what.add_argument("--deployment", type=Path, metavar="DIR", help="serve what this local deployment makes active")
    what.add_argument(
        "--model",
        metavar="URI",
        help="fetch or build a package, then serve it: a directory, gs://BUCKET/PATH, an archive's https:// address, a "
        "checkpoint (default: $AIP_STORAGE_URI where that is set, as on Vertex AI)",
    )
    what.add_argument("--repository", action="store_true", help="serve only what is uploaded to this server")
    parser.add_argument(
        "--expected-digest", type=_digest, metavar="SHA256", help="refuse any other --package or --model"
    )
    parser.add_argument(
        "--name", type=_model_id, metavar="NAME", help="what the --package or --model is called in answers"
    )
    parser.add_argument(
        "--fallback-taxonomy",
        type=Path,
        metavar="FILE",
        help="where no model can be loaded, answer by this taxonomy's keywords instead of not starting",
    )
    place = parser.add_argument_group("where")
    place.add_argument(
        "--host",
        default="0.0.0.0" if hosted else "127.0.0.1",  # noqa: S104 - a container is reached from outside
        help="address to listen on (default: %(default)s)",
    )
    place.add_argument(
        "--port",
        type=_port,
        default=environment.get("AIP_HTTP_PORT") or environment.get("PORT") or "8080",
        help="0 takes any free port (default: $AIP_HTTP_PORT or $PORT where set, as on Vertex AI and Cloud Run; here "
        "%(default)s)",
    )
    place.add_argument(
        "--mode",
        choices=("standalone", "serverless"),
        default="serverless" if hosted else "standalone",
        help="serverless: one package, no uploads, nothing kept but in the --database (default: %(default)s here, "
        "serverless on Cloud Run and Vertex AI)",
    )
    _add_keeping(parser, environment)
    _add_running(parser)
    limits = parser.add_argument_group("limits")
    for field in fields(Limits):
        is_seconds = field.name.endswith("_s")
        limits.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_positive_number if is_seconds else _positive,
            default=field.default,
            metavar="SECONDS" if is_seconds else "N",
            help=f"{_LIMIT_HELP[field.name]} (default: %(default)s)",
        )
    return parser


def _add_keeping(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    kept = parser.add_argument_group("what is kept")
    kept.add_argument(
        "--home",
        type=Path,
        default=Path(".tunelane/server"),
        metavar="DIR",
        help="where the database, the journal and fetched packages lie (default: %(default)s)",
    )
    kept.add_argument(
        "--database",
        default=environment.get("TUNELANE_DATABASE_URL") or None,
        metavar="URL",
        help="sqlite:///PATH or postgresql://…, for events, feedback, features and versions (default: "
        "$TUNELANE_DATABASE_URL, else a SQLite file in --home; in serverless mode none)",
    )
    kept.add_argument(
        "--packages",
        metavar="DIR|gs://…",
        help="where uploaded packages lie; a bucket for several instances (default: packages in --home)",
    )
    kept.add_argument(
        "--keep-events-days",
        type=_positive,
        default=90,
        metavar="N",
        help="days after which events and their feedback are deleted (default: %(default)s)",
    )
    kept.add_argument("--hash-inputs", action="store_true", help="keep the SHA-256 of texts instead of the texts")
    kept.add_argument("--access-log", action="store_true", help="log a line for every request")


def _add_running(parser: argparse.ArgumentParser) -> None:
    running = parser.add_argument_group("how it runs")
    running.add_argument(
        "--workers",
        type=_threads,
        default=usable_cores(),
        metavar="N",
        help="inference threads (default: one for each usable core, here %(default)s)",
    )
    running.add_argument(
        "--max-batch",
        type=_positive,
        default=8,
        metavar="N",
        help="most texts of equal token length that go through a graph together; only where the package says that its "
        "answers do not depend on it, or by --batch (default: %(default)s)",
    )
    running.add_argument(
        "--batch",
        dest="batch_digests",
        type=_digest,
        action="append",
        default=[],
        metavar="SHA256",
        help="put texts of this package together although its answers may depend on it; may stand several times",
    )
    running.add_argument(
        "--answer-cache-bytes",
        type=_whole,
        default=0,
        metavar="N",
        help="memory for answers to repeated texts (default: %(default)s, no cache)",
    )
    safety = parser.add_argument_group("who may do what")
    safety.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help='JSON: [{"name", "sha256", "rights": ["predict", "feedback", "monitor", "manage"], '
        '"requests_per_minute"}]; managing models is off without (default: the JSON in $TUNELANE_API_KEYS)',
    )
    safety.add_argument(
        "--allow-saved-models",
        action="store_true",
        help="take uploads of TensorFlow SavedModels, which can read and write files",
    )
    safety.add_argument(
        "--cors-origin",
        dest="cors_origins",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this web origin call the server; may stand several times",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _threads(text: str) -> int:
    # More than any machine has cores: each would only take memory.
    if _positive(text) > _MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {_MAX_WORKERS}")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _positive_number(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return float(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535); it comes from --port or $PORT")
    return int(text)


def _model_id(text: str) -> str:
    # As wire.ModelId: by any other name no request could ask for it.
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,127}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a model: 1 to 128 letters, digits, dots, dashes and underscores, "
            "the first a letter or digit"
        )
    return text


def _digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256 (64 hex digits)")
    return text.lower()
