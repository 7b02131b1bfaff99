"""The whole bench: Google's services on loopback, and the environment that leads unmodified clients to them."""

import ssl
from functools import partial
from pathlib import Path

import trustme

from tests.cloud.bench.account import Account
from tests.cloud.bench.api import Api
from tests.cloud.bench.clock import FakeClock
from tests.cloud.bench.cloud_run import CloudRun
from tests.cloud.bench.contract import Contract, read_contract
from tests.cloud.bench.custom_jobs import CustomJobs
from tests.cloud.bench.entries import Entries
from tests.cloud.bench.faults import Call, Faults
from tests.cloud.bench.grpc_door import GrpcDoor, Line
from tests.cloud.bench.metadata import Metadata
from tests.cloud.bench.models import Endpoints, Models
from tests.cloud.bench.pipeline_jobs import PipelineJobs
from tests.cloud.bench.projects import Projects
from tests.cloud.bench.proxy import Proxy
from tests.cloud.bench.quotas import HOST as QUOTAS_HOST
from tests.cloud.bench.quotas import Quotas
from tests.cloud.bench.registry import HOST, REPOSITORY, Registry
from tests.cloud.bench.rest_door import Answer, Exchange, RestDoor, Transcoder
from tests.cloud.bench.schedules import Schedules
from tests.cloud.bench.secret_versions import SecretVersions
from tests.cloud.bench.state import PROJECT, PROJECT_NUMBER, REGION, State
from tests.cloud.bench.storage import Storage

LOOPBACK = "127.0.0.1,localhost"


class Bench:
    """The servers run for as long as it does; `reset` gives each test a clean one.

    Attributes:
        environment: what a process needs to come here.
        clock: the fakes' time, and `targets.clock.Clock` for the code under test.
        vertex: pipeline jobs.
        schedules: of pipeline jobs; the clock fires them.
        custom_jobs: what the tasks of pipeline jobs run as.
        metadata: contexts of runs and experiments.
        logs: what the tasks wrote.
        registry: pipeline templates; `repository` is there.
        storage: buckets; `bucket` is there, in the region.
        projects: what Resource Manager knows.
        models, endpoints: Vertex AI's registry, and what it serves.
        cloud_run: services and their revisions.
        secrets: versions of secrets.
        quotas: how many GPUs the project may have; none, as a new one.
    """

    project = PROJECT
    project_number = PROJECT_NUMBER
    region = REGION
    bucket = "tunelane-test-ew4"
    repository = f"{REGION}-kfp.pkg.dev/{PROJECT}/{REPOSITORY}"
    service_account = f"runner@{PROJECT}.iam.gserviceaccount.com"

    def __init__(self, directory: Path) -> None:
        """`directory` is for certificates and keys."""
        self.clock = FakeClock()
        self.state = State(self.clock)
        account = Account()
        self._api = Api(self.state, account.check)
        self.registry = Registry(self._api, account.check)
        self.secrets = SecretVersions(self._api, account.check)
        self.quotas = Quotas(self._api, account.check)
        self.vertex = PipelineJobs(self.state, self.registry)
        self.schedules = Schedules(self.state, self.vertex)
        self.custom_jobs = CustomJobs(self.state)
        self.metadata = Metadata(self.state)
        self.logs = Entries(self.state, self.vertex)
        self.projects = Projects()
        self.models = Models(self.state)
        self.endpoints = Endpoints(self.state, self.models)
        self.cloud_run = CloudRun(self.state)
        self._api.serve(self.vertex, self.schedules, self.custom_jobs, self.logs, self.projects)
        self._api.serve(self.models, self.endpoints, self.cloud_run, self.metadata)
        self.clock.next_due, self.clock.fire = self.schedules.next_due, self.schedules.fire
        self.vertex.when_ended = self.schedules.start_queued
        self.vertex.show_context = self.metadata.show_run
        self.contract: Contract = read_contract()
        self.storage = Storage(self._api)
        self._transcoder = Transcoder(self.contract, self._api)

        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1", "*.googleapis.com", "*.pkg.dev")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        self._grpc = GrpcDoor(self.contract, self._api, (certificate.private_key_pem.bytes(), chain))
        self._rest = RestDoor(self._answer, context)
        self._token = RestDoor(account.token)
        self._proxy = Proxy(self._grpc.port, self._rest.port)
        for door in (self._grpc, self._rest):
            door.line = Line(partial(self._proxy.host, door.port), partial(self._proxy.cut, door.port))

        authority.cert_pem.write_to_path(str(directory / "authority.pem"))
        credentials = directory / "service-account.json"
        account.write_key(credentials, f"http://127.0.0.1:{self._token.port}/token")
        proxy = f"http://127.0.0.1:{self._proxy.port}"
        certificates = str(directory / "authority.pem")
        self.environment = {
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), LOOPBACK),
            **dict.fromkeys(("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), certificates),
            "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
            "CLOUDSDK_CONFIG": str(directory / "gcloud"),
            "NO_GCE_CHECK": "true",  # nor is a metadata server asked for: no such machine is here
            "STORAGE_EMULATOR_HOST": self.storage.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
        self.reset()

    @property
    def calls(self) -> list[Call]:
        """What was called since the test began, in order."""
        return self._api.calls

    @property
    def faults(self) -> Faults:
        """The faults to come."""
        return self._api.faults

    @property
    def refused(self) -> list[str]:
        """What asked the proxy for another host."""
        return self._proxy.refused

    @property
    def unknown(self) -> list[str]:
        """What was called and is not faked."""
        return self._api.unknown

    def arrive(self) -> None:
        """Carry out the calls with the fault `late` that are still under way."""
        self._api.arrive()

    def called(self, method: str) -> list[object]:
        """Give the requests of a method, in order."""
        return [call.request for call in self.calls if call.method == method]

    def reset(self) -> None:
        """Forget everything but the default bucket."""
        self.clock.reset()
        self.state.reset()
        for service in (
            self.vertex,
            self.schedules,
            self.logs,
            self.projects,
            self.registry,
            self.secrets,
            self.quotas,
            self.cloud_run,
        ):
            service.reset()
        self._api.reset()
        self._proxy.refused.clear()
        self.storage.reset()
        self.storage.add_bucket(self.bucket, self.region)

    def stop(self) -> None:
        self._proxy.stop()
        self._token.stop()
        self._rest.stop()
        self._grpc.stop()
        self.storage.stop()

    def _answer(self, exchange: Exchange) -> Answer:
        if exchange.host == "storage.googleapis.com":
            return self.storage.answer(exchange)
        if HOST.fullmatch(exchange.host) or exchange.host == "artifactregistry.googleapis.com":
            return self.registry.answer(exchange)
        if exchange.host == QUOTAS_HOST:
            return self.quotas.answer(exchange)
        if exchange.host == "secretmanager.googleapis.com":
            return self.secrets.answer(exchange)
        return self._transcoder.answer(exchange)
