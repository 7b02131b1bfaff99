"""Services that a schedule can be made on, and what a test has them do."""

from typing import Any, Protocol

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.faults import Fault, matrix
from tests.cloud.kubeflow.faults import FAULTS
from tests.cloud.kubeflow.hurried import HurriedApi
from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import changed
from tunelane_pipelines.settings.sections import GcpSettings, KubeflowSettings
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Recurrence, RemoteTarget
from tunelane_pipelines.targets.vertex.target import VertexTarget

HOURLY = changed(Recurrence(cron=""), cron="0 * * * *")
DAILY = changed(Recurrence(cron=""), cron="0 3 * * MON")
KEY = "nightly-20260101-030000-ab12"
"""The run id of the request that makes the schedule `nightly`."""


class Cluster(Protocol):
    """A service that a schedule can be made on, and what a test has it do."""

    target: RemoteTarget
    clock: Any

    def reset(self) -> None:
        """Forget everything."""
        ...

    def end(self, resource: str) -> None:
        """Let a run succeed."""
        ...

    def begin(self) -> None:
        """Count calls from here."""
        ...

    def faults(self) -> list[Any]:
        """Give one fault of each kind at every call since."""
        ...

    def show(self, fault: Any) -> None:
        """Have the fault come."""
        ...

    def is_late(self, fault: Any) -> bool:
        """Whether the fault is that a schedule is made only after further calls."""
        ...

    def arrive(self) -> None:
        """Carry out what is still under way."""
        ...


class Vertex:
    """The bench's Vertex AI."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.clock = bench.clock
        settings = GcpSettings(
            project=bench.project,
            region=bench.region,
            pipeline_root=f"gs://{bench.bucket}/runs",
            service_account=bench.service_account,
        )
        self.target: RemoteTarget = VertexTarget(settings, bench.clock)

    def reset(self) -> None:
        self._bench.reset()
        self._bench.vertex.hold()

    def end(self, resource: str) -> None:
        self._bench.vertex.finish(resource)

    def begin(self) -> None:
        self._bench.calls.clear()

    def faults(self) -> list[Fault]:
        return matrix(self._bench.calls)

    def show(self, fault: Fault) -> None:
        self._bench.faults.add(fault.method, fault.kind, skip=fault.skip)

    def is_late(self, fault: Fault) -> bool:
        return (fault.method, fault.kind) == ("CreateSchedule", "late")

    def arrive(self) -> None:
        self._bench.arrive()


class Kubeflow:
    """The fake installation of Kubeflow Pipelines."""

    def __init__(self, fake: FakeKubeflow) -> None:
        self._fake = fake
        self.clock = fake.clock
        settings = KubeflowSettings(host=fake.host)
        self.target: RemoteTarget = KubeflowTarget(settings, fake.clock, HurriedApi(settings, fake))

    def reset(self) -> None:
        self._fake.reset()

    def end(self, resource: str) -> None:
        self._fake.end(resource, "SUCCEEDED")

    def begin(self) -> None:
        self._fake.faults.clear()
        self._fake.calls.clear()

    def faults(self) -> list[tuple[int, Any]]:
        return [(number, kind) for number in range(len(self._fake.calls)) for kind in FAULTS]

    def show(self, fault: tuple[int, Any]) -> None:
        number, kind = fault
        self._fake.faults[number] = kind

    def is_late(self, fault: tuple[int, Any]) -> bool:
        number, kind = fault
        return kind == "late" and self._fake.calls[number].operation == "create_recurring_run"

    def arrive(self) -> None:
        self._fake.arrive()


def nightly(cluster: Cluster, recurrence: Recurrence = HOURLY) -> ScheduleRecord:
    """Give the schedule `nightly`, as it is journalled before it is made."""
    target = cluster.target
    return ScheduleRecord(
        "nightly", target.name, "small", recurrence, cluster.clock.now(), service=target.service, key=KEY
    )
