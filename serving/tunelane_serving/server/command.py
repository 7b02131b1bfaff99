"""`tunelane-serve`: arguments, life-cycle and exit codes of the server."""

import argparse
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import uvicorn

from tunelane_serving.cores import usable_cores
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.package import MANIFEST
from tunelane_serving.server.app import create_app
from tunelane_serving.server.champion import ChampionSource, DeployedChampion, FixedChampion
from tunelane_serving.server.inference import InferencePool
from tunelane_serving.server.wire import Limits

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Together below the 8 s that a process is given to end.
_FINISH_REQUESTS_S = 5
_STOP_LOADING_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code: 0, 1 (a model that does not load) or 2 (bad input)."""
    # Until the server takes them over; while a model is loaded there is nothing to finish.
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))
    options = _parser().parse_args(arguments)
    try:
        _serve(options)
    except TunelaneError as error:
        print(f"tunelane-serve: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return error.exit_code
    return 0


def _serve(options: argparse.Namespace) -> None:
    if options.deployment is not None and options.expected_digest is not None:
        raise InputError("--expected-digest goes with --package; a deployment's active.json holds its digest")
    directory: Path = options.package or options.deployment
    if not directory.is_dir():
        raise InputError(f"{directory} is not a directory; pass one to --package or --deployment")
    listener = _bind(options.host, options.port)
    if options.package is not None and not (directory / MANIFEST).is_file():
        raise InputError(f"{directory} is not a model package: it has no {MANIFEST}; pass one to --package")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")

    if options.package is not None:
        _run(FixedChampion(directory, expected_digest=options.expected_digest), listener, options)
        return
    follower = DeployedChampion(directory)
    follower.poll()
    follower.start()
    _run(follower, listener, options)
    if not follower.stop(timeout_s=_STOP_LOADING_S):
        # The interpreter cannot be taken down safely under a thread that is inside ONNX Runtime.
        logging.shutdown()
        os._exit(0)


def _run(source: ChampionSource, listener: socket.socket, options: argparse.Namespace) -> None:
    limits = Limits(options.max_body_bytes, options.max_texts, options.max_text_chars)
    pool = InferencePool(options.workers)
    config = uvicorn.Config(
        create_app(source, pool, limits),
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_FINISH_REQUESTS_S,
    )
    server = uvicorn.Server(config)
    # uvicorn installs this handler itself, but later, and afterwards raises the signal again for the one before it,
    # which must then not end the process by that signal.
    for number in _STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
    _listen(listener)
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"listening on http://{host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - a parent waits for it
    server.run(sockets=[listener])
    pool.close()


def _bind(host: str, port: int) -> socket.socket:
    """Take the port without listening yet, so that a taken one is known before a model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror}; pass another --host or --port") from error
    return listener


def _listen(listener: socket.socket) -> None:
    """Start listening. Two servers that start together can both bind a port; the second to get here is refused."""
    try:
        listener.listen(2048)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror}; pass another --port") from error


class _Parser(argparse.ArgumentParser):
    """Errors on one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    limits = Limits()
    parser = _Parser(
        prog="tunelane-serve",
        description="Serve a model package over HTTP: ONNX Runtime, no torch.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--package", type=Path, metavar="DIR", help="serve this one package")
    what.add_argument("--deployment", type=Path, metavar="DIR", help="serve what this local deployment makes active")
    parser.add_argument("--expected-digest", type=_digest, metavar="SHA256", help="refuse any other --package")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=_port,
        default=os.environ.get("PORT") or "8080",
        help="0 takes any free port (default: $PORT where that is set, as on Cloud Run; here %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=_positive,
        default=usable_cores(),
        metavar="N",
        help="inference threads (default: one for each usable core, here %(default)s)",
    )
    for flag, default, text in (
        ("--max-body-bytes", limits.max_body_bytes, "largest request body"),
        ("--max-texts", limits.max_texts, "most texts in one request"),
        ("--max-text-chars", limits.max_text_chars, "longest text"),
    ):
        parser.add_argument(flag, type=_positive, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535); it comes from --port or $PORT")
    return int(text)


def _digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256 (64 hex digits)")
    return text.lower()
