"""The connection to the fake: it gives up early where the fake is slow, and only there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.errors import ServiceAway
from tunelane_pipelines.targets.kubeflow.client import Api

_CONNECT_TIMEOUT_S = 60.0
_READ_TIMEOUT_S = 60.0
_SLOW_TIMEOUT_S = 0.1


class HurriedApi(Api):
    """With one short limit for all calls a busy machine would be a fault, too."""

    def __init__(self, settings: KubeflowSettings, fake: FakeKubeflow) -> None:
        super().__init__(settings)
        self._fake = fake

    def call(self, service: str, verb: str, **arguments: Any) -> Any:
        """Call as ever."""
        with self._hurrying(self._fake.is_slow_next):
            return super().call(service, verb, **arguments)

    def _log(self, version: str, run_id: str, pod: str) -> str | None:
        # Where the route is not, nothing is slow.
        with self._hurrying(self._fake.is_slow_next and version == self._fake.log_version):
            return super()._log(version, run_id, pod)

    @contextmanager
    def _hurrying(self, is_slow: bool) -> Iterator[None]:
        self._fake.slow_call_done.clear()
        self._timeouts_s = (_CONNECT_TIMEOUT_S, _SLOW_TIMEOUT_S if is_slow else _READ_TIMEOUT_S)
        try:
            yield
        except ServiceAway:
            # What is slow is carried out all the same, and not only after the next call.
            assert not is_slow or self._fake.slow_call_done.wait(_READ_TIMEOUT_S)
            raise
