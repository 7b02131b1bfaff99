"""`tunelane-serve`: life-cycle and exit codes of the server."""

import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace

from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.package import MANIFEST
from tunelane_serving.server.logs import set_up_logging
from tunelane_serving.server.opening import Opening, is_loading
from tunelane_serving.server.options import Options, parse

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code: 0, 1 (a model that does not load) or 2 (bad input)."""
    # Until the server takes them over; while a model is loaded there is nothing to finish, nor anything to wait for.
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
    options = parse(arguments)
    try:
        return _serve(options)
    except TunelaneError as error:
        code = _refuse(error)
        if is_loading():
            # The interpreter cannot be taken down safely under a thread that is inside ONNX Runtime.
            os._exit(code)
        return code


def _refuse(error: TunelaneError) -> int:
    print(f"tunelane-serve: {error}", file=sys.stderr, flush=True)  # noqa: T201 - a command's answer
    return error.exit_code


def _serve(options: Options) -> int:
    directory = options.package or options.deployment
    if directory is not None and not directory.is_dir():
        raise InputError(f"{directory} is not a directory; pass one to --package or --deployment")
    if options.expected_digest is not None and not (options.package or options.model):
        raise InputError("--expected-digest goes with --package or --model; a deployment's active.json has its digest")
    if options.mode == "serverless" and (options.deployment or options.repository):
        raise InputError("--mode serverless serves one package that is never exchanged; pass --package or --model")
    listener = _bind(options.host, options.port)
    if options.package is not None and not (options.package / MANIFEST).is_file():
        raise InputError(f"{directory} is not a model package: it has no {MANIFEST}; pass one to --package")
    set_up_logging()
    opening = Opening(options)
    # The web server and all routes: imported while the model is opened.
    from tunelane_serving.server.assembly import assemble
    from tunelane_serving.server.connections import affordable_connections
    from tunelane_serving.server.running import is_blocked, run

    connections = affordable_connections(options.limits.max_connections)
    options = replace(options, limits=replace(options.limits, max_connections=connections))
    assembly = assemble(options, os.environ, opening)
    code = 0
    try:
        run(assembly.services, listener, options, os.environ)
    except TunelaneError as error:
        code = _refuse(error)
    except Exception:
        traceback.print_exc()
        code = 1
    if not assembly.close() or is_blocked():
        # The interpreter cannot be taken down safely under a thread that is inside ONNX Runtime, and would wait for
        # one that is inside a database which does not answer.
        logging.shutdown()
        os._exit(code)
    return code


def _bind(host: str, port: int) -> socket.socket:
    """Take the port without listening yet, so that a taken one is known before a model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        # A name that DNS cannot have, such as one with an empty part, is not even looked up.
        said = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise InputError(f"cannot listen on {host}:{port}: {said}; pass another --host or --port") from error
    return listener
