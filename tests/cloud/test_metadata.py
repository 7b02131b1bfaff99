"""Vertex ML Metadata's fake, by the generated client over gRPC and REST."""

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1

_over_both = pytest.mark.parametrize("transport", ["grpc", "rest"])


@pytest.fixture
def client(vertex_options, transport):
    return aiplatform_v1.MetadataServiceClient(client_options=vertex_options, transport=transport)


@pytest.fixture
def store(vertex_parent, pipeline_client, small_job):
    """Give the default store, which the first run brought with it."""
    job = pipeline_client.create_pipeline_job(parent=vertex_parent, pipeline_job=small_job, pipeline_job_id="run-one")
    for _ in range(2):
        pipeline_client.get_pipeline_job(name=job.name)
    return f"{vertex_parent}/metadataStores/default"


@pytest.fixture
def create(client, store):
    def run(context_id="baseline", parent=store, **fields):
        context = {"display_name": context_id, "schema_title": "system.Experiment", "schema_version": "0.0.1"}
        return client.create_context(parent=parent, context=context | fields, context_id=context_id, timeout=20)

    return run


def test_a_run_has_its_context_a_moment_after_it_started(pipeline_client, vertex_parent, small_job):
    job = pipeline_client.create_pipeline_job(parent=vertex_parent, pipeline_job=small_job, pipeline_job_id="run-one")
    polls = [pipeline_client.get_pipeline_job(name=job.name).job_detail.pipeline_run_context for _ in range(2)]
    assert [poll.name.rpartition("/")[2] for poll in polls] == ["", "run-one"]
    assert polls[1].schema_title == "system.PipelineRun"


@_over_both
def test_an_experiment_is_made_once_and_found(client, create):
    made = create()
    assert client.get_context(name=made.name).schema_title == "system.Experiment"
    with pytest.raises(exceptions.Conflict):
        create()


@_over_both
def test_a_child_is_added_once(client, create, store, bench):
    experiment = create()
    for _ in range(2):
        client.add_context_children(context=experiment.name, child_contexts=[f"{store}/contexts/run-one"])
    run = client.get_context(name=f"{store}/contexts/run-one")
    assert list(run.parent_contexts) == [experiment.name]
    found = client.list_contexts(request={"parent": store, "filter": f'parent_contexts:"{experiment.name}"'})
    assert [context.name for context in found] == [run.name]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"context_id": "new"}, "context_id"),
        ({"context_id": "Base line"}, "context_id"),
        ({"schema_title": "system.Trial"}, "schema"),
        ({"schema_version": "9.0.0"}, "schema"),
        ({"display_name": "a" * 129}, "display_name"),
        ({"labels": {"A": "b"}}, "label"),
    ],
)
def test_a_context_that_breaks_a_rule_is_refused(create, fields, word):
    with pytest.raises(exceptions.BadRequest, match=word):
        create(**fields)


def test_a_store_that_is_not_there_is_not_found(create, vertex_parent):
    with pytest.raises(exceptions.NotFound):
        create(parent=f"{vertex_parent}/metadataStores/other")


def test_no_context_stands_above_itself(client, create):
    first, second = create("first"), create("second")
    client.add_context_children(context=first.name, child_contexts=[second.name])
    with pytest.raises(exceptions.BadRequest, match="cycle"):
        client.add_context_children(context=second.name, child_contexts=[first.name])


def test_a_context_has_ten_parents_at_most(client, create, store):
    child = [f"{store}/contexts/run-one"]
    for number in range(10):
        client.add_context_children(context=create(f"experiment-{number}").name, child_contexts=child)
    with pytest.raises(exceptions.BadRequest, match="10 parents"):
        client.add_context_children(context=create("one-more").name, child_contexts=child)


def test_a_child_that_is_not_there_is_not_found(client, create, store):
    with pytest.raises(exceptions.NotFound):
        client.add_context_children(context=create().name, child_contexts=[f"{store}/contexts/run-two"])
