"""Resource Manager: who a project is. https://cloud.google.com/resource-manager/reference/rest/v3/projects."""

from typing import Any

from google.cloud import resourcemanager_v3
from google.iam.v1 import iam_policy_pb2

from tests.cloud.bench.state import PROJECT, PROJECT_NUMBER


class Projects:
    """One project."""

    service = "google.cloud.resourcemanager.v3.Projects"

    def __init__(self) -> None:
        self.missing_permissions: set[str] = set()

    def reset(self) -> None:
        self.missing_permissions.clear()

    def get_project(self, _: Any) -> Any:
        project = resourcemanager_v3.Project(
            name=f"projects/{PROJECT_NUMBER}",
            project_id=PROJECT,
            display_name=PROJECT,
            state=resourcemanager_v3.Project.State.ACTIVE,
        )
        return resourcemanager_v3.Project.pb(project)

    def test_iam_permissions(self, request: Any) -> Any:
        """Give those of the permissions that the caller has."""
        held = [permission for permission in request.permissions if permission not in self.missing_permissions]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=held)
