"""Taking the server's parts apart again."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tunelane_serving.server.assembly import assemble
from tunelane_serving.server.options import parse


class _Slow:
    """A recorder whose last events take a while; meanwhile something happens."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def close(self, *, timeout_s: float) -> None:
        self._meanwhile()
        time.sleep(min(0.6, timeout_s))


def test_no_new_revision_is_loaded_while_the_last_events_are_written(
    tiny_package: Callable[..., Path], deploy: Callable[..., str], tmp_path: Path
) -> None:
    deployment = tmp_path / "deployment"
    first = deploy(deployment, tiny_package(tmp_path / "first"), "1")
    second = tiny_package(tmp_path / "second", bias=(1.0, 0.0))
    assembly = assemble(parse(["--deployment", str(deployment), "--home", str(tmp_path / "home")], {}), {})
    recorder = assembly.services.recorder
    assert recorder is not None
    recorder.close(timeout_s=5)
    slow = _Slow(lambda: deploy(deployment, second, "2"))
    services = replace(assembly.services, recorder=slow)  # type: ignore[arg-type]
    assert replace(assembly, services=services).close()
    assert services.source.loads == 1
    assert services.source.current is not None
    assert services.source.current.model.digest == first
