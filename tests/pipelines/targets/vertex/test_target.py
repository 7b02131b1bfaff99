"""Which service a target is."""

from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.vertex.target import VertexTarget


def test_a_target_says_which_service_it_is_and_that_it_takes_our_ids(settings: GcpSettings) -> None:
    target = VertexTarget(settings)
    assert (target.name, target.service, target.takes_run_id) == ("vertex", "vertex tunelane-test/europe-west4", True)
    elsewhere = VertexTarget(settings.model_copy(update={"region": "us-central1"}))
    assert elsewhere.service != target.service
