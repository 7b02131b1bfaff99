"""Google's services on loopback, for unmodified clients."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.specs import small_spec
from tunelane_components.registry.bucket import BucketRegistry

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1

# gcsfs reads it while it is imported, which may be before the bench has set it; with it on, gcsfs asks over gRPC what
# kind of bucket it has, and waits for minutes without an answer.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


@pytest.fixture(scope="session")
def running_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Start the servers, once."""
    bench = Bench(tmp_path_factory.mktemp("bench"))
    try:
        yield bench
    finally:
        bench.stop()


@pytest.fixture
def bench(running_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Give clean services that the clients of this process talk to; `bench.environment` leads other processes there.

    The test fails if anything asked for a host outside, or for something that the fakes do not know.
    """
    running_bench.reset()
    for name, value in running_bench.environment.items():
        monkeypatch.setenv(name, value)
    yield running_bench
    assert running_bench.refused == []
    assert running_bench.unknown == []


@pytest.fixture
def silent_url() -> Iterator[str]:
    """Give the address of a server that takes every connection and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent_token(bench: Bench, silent_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody answer who gives out tokens; Cloud Storage is asked as on the real service, with a token."""
    key = json.loads(Path(bench.environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    path = tmp_path / "silent-account.json"
    path.write_text(json.dumps(key | {"token_uri": f"{silent_url}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")


@pytest.fixture
def registry_uri(bench: Bench) -> str:
    """Give a folder in the bucket for a registry of models."""
    return f"gs://{bench.bucket}/team/registry"


@pytest.fixture
def registry(registry_uri: str) -> BucketRegistry:
    """Give the registry of models in that folder."""
    return BucketRegistry(registry_uri)


@pytest.fixture
def package(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    """Give a model package."""
    return tiny_package(tmp_path / "package")


@pytest.fixture
def challenger(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    """Give another model package."""
    return tiny_package(tmp_path / "challenger", bias=(0.5, 0.0))


@pytest.fixture
def transport() -> str:
    """Give the generated clients' transport; parametrize `transport` for REST too."""
    return "grpc"


@pytest.fixture
def vertex_options(bench: Bench) -> dict[str, str]:
    """Give the client options of the bench's region."""
    return {"api_endpoint": f"{bench.region}-aiplatform.googleapis.com"}


@pytest.fixture
def vertex_parent(bench: Bench) -> str:
    """Give the parent of what lies in the bench's region."""
    return f"projects/{bench.project}/locations/{bench.region}"


@pytest.fixture
def pipeline_client(vertex_options: dict[str, str], transport: str) -> "aiplatform_v1.PipelineServiceClient":
    """Give the client of pipeline jobs."""
    from google.cloud import aiplatform_v1

    return aiplatform_v1.PipelineServiceClient(client_options=vertex_options, transport=transport)


@pytest.fixture
def schedule_client(vertex_options: dict[str, str], transport: str) -> "aiplatform_v1.ScheduleServiceClient":
    """Give the client of schedules."""
    from google.cloud import aiplatform_v1

    return aiplatform_v1.ScheduleServiceClient(client_options=vertex_options, transport=transport)


@pytest.fixture
def small_job(bench: Bench) -> dict[str, Any]:
    """Give a pipeline job of two tasks, `first` and `second`, as the clients take it."""
    return {
        "display_name": "small",
        "pipeline_spec": small_spec("first", "second"),
        "labels": {"tunelane-run": "one"},
        "runtime_config": {"gcs_output_directory": f"gs://{bench.bucket}/runs"},
        "service_account": bench.service_account,
    }
