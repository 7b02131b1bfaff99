"""The web server at work: from listening to the last answer."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tunelane_serving.errors import InputError
from tunelane_serving.server.app import create_app
from tunelane_serving.server.connections import BoundedConfig, BoundedServer
from tunelane_serving.server.direct import DirectPredictions
from tunelane_serving.server.options import Options
from tunelane_serving.server.services import Services

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# With what Assembly.close takes below the 8 s that a process is given to end.
_FINISH_REQUESTS_S = 4
# Threads for what blocks: the database, uploads.
_BLOCKING_THREADS = 16
_BLOCKING = "blocking"
_IDLE_THREADS_END_S = 0.2


def run(services: Services, listener: socket.socket, options: Options, environment: Mapping[str, str]) -> None:
    """Serve on `listener` until SIGTERM or SIGINT, and finish what is being answered then.

    Raises:
        InputError: another server listens there, or a route that Vertex AI names is no path.
    """
    aliases = _vertex_routes(environment)
    app = create_app(services, cors_origins=options.cors_origins, aliases=aliases)
    config = BoundedConfig(
        app,
        max_connections=options.limits.max_connections,
        on_refused=services.metrics.count_refused_connection,
        direct=_direct(services, options, aliases),
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_FINISH_REQUESTS_S,
    )
    server = BoundedServer(config)
    # uvicorn installs this handler itself, but later, and afterwards raises the signal again for the one before it,
    # which must then not end the process by that signal.
    for number in _STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
    _listen(listener)
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"listening on http://{host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - a parent waits for it

    async def serve() -> None:
        asyncio.get_running_loop().set_default_executor(_Threads(_BLOCKING_THREADS, _BLOCKING))
        await server.serve(sockets=[listener])

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())


def _direct(services: Services, options: Options, aliases: Sequence[tuple[str, str]]) -> DirectPredictions | None:
    """Give what answers predictions directly, where nothing that only the application does is wanted with them."""
    needs_application = (
        services.access_log is not None
        or services.engine.answers is not None
        or options.cors_origins
        or DirectPredictions.path in {alias for alias, _ in aliases}
    )
    return None if needs_application else DirectPredictions(services)


def is_blocked() -> bool:
    """Say whether a thread for what blocks has not ended; idle ones do within moments."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(_BLOCKING)]
    until_s = time.monotonic() + _IDLE_THREADS_END_S
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
    return any(thread.is_alive() for thread in threads)


def _vertex_routes(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Give the paths that Vertex AI chose for its two routes, each with ours; both may be the same.

    Raises:
        InputError: one is no path.
    """
    chosen = {"AIP_PREDICT_ROUTE": "/vertex/predict", "AIP_HEALTH_ROUTE": "/vertex/health"}
    given = {name: environment[name] for name in chosen if environment.get(name)}
    for name, route in given.items():
        if not route.startswith("/"):
            raise InputError(f"{name} is {route!r}, which is no path of a route; let it begin with /")
    return [(route, chosen[name]) for name, route in given.items()]


class _Threads(ThreadPoolExecutor):
    """Threads for what blocks. The end of the event loop does not wait for one that hangs."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        super().shutdown(wait=False, cancel_futures=True)


def _listen(listener: socket.socket) -> None:
    """Start listening. Two servers that start together can both bind a port; the second to get here is refused."""
    try:
        listener.listen(2048)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror}; pass another --port") from error
