"""Google's own clients, each made when it is first needed. Importing this module imports none of them."""

from functools import cached_property
from typing import Any

from tunelane_pipelines.targets.vertex.errors import plain_errors

CALL_TIMEOUT_S = 60.0
"""Every call's. The clients' own retries are off wherever they are used: `targets.retrying` does that, on our clock."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOGGING_HOST = "logging.googleapis.com"


class Clients:
    """Clients of one project in one region.

    Raises (every property):
        NotAllowed: there are no credentials.
    """

    def __init__(self, project: str, region: str) -> None:
        self.project = project
        self._host = f"{region}-aiplatform.googleapis.com"

    @cached_property
    def pipelines(self) -> Any:
        """A `PipelineServiceClient`."""
        from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient

        return PipelineServiceClient(credentials=self._credentials, client_options={"api_endpoint": self._host})

    @cached_property
    def schedules(self) -> Any:
        """A `ScheduleServiceClient`."""
        from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient

        return ScheduleServiceClient(credentials=self._credentials, client_options={"api_endpoint": self._host})

    @cached_property
    def custom_jobs(self) -> Any:
        """A `JobServiceClient`."""
        from google.cloud.aiplatform_v1.services.job_service import JobServiceClient

        return JobServiceClient(credentials=self._credentials, client_options={"api_endpoint": self._host})

    @cached_property
    def metadata(self) -> Any:
        """A `MetadataServiceClient`."""
        from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

        return MetadataServiceClient(credentials=self._credentials, client_options={"api_endpoint": self._host})

    @cached_property
    def logs(self) -> Any:
        """A `LoggingServiceV2Client`."""
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client

        return LoggingServiceV2Client(credentials=self._credentials, client_options={"api_endpoint": _LOGGING_HOST})

    @cached_property
    def storage(self) -> Any:
        """A Cloud Storage `Client`."""
        from google.cloud.storage import Client

        return Client(project=self.project, credentials=self._credentials)

    @cached_property
    def registry(self) -> Any:
        """An `AuthorizedSession` of requests, for Artifact Registry."""
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self._credentials)

    @cached_property
    def _credentials(self) -> Any:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError

        with plain_errors("find credentials", self.project):
            try:
                return google.auth.default(scopes=[_SCOPE])[0]
            except (OSError, AttributeError) as error:
                # A file that cannot be read, or whose JSON is no object.
                raise DefaultCredentialsError(error) from error
