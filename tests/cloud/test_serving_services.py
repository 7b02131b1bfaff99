"""The fakes of Vertex AI's model registry and endpoints, and of Cloud Run, by their clients."""

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1, run_v2

_over_both = pytest.mark.parametrize("transport", ["grpc", "rest"])
_MACHINE = {"machine_spec": {"machine_type": "e2-standard-4"}, "min_replica_count": 1}


@pytest.fixture
def models(vertex_options, transport):
    return aiplatform_v1.ModelServiceClient(client_options=vertex_options, transport=transport)


@pytest.fixture
def endpoints(vertex_options, transport):
    return aiplatform_v1.EndpointServiceClient(client_options=vertex_options, transport=transport)


@pytest.fixture
def upload(models, vertex_parent):
    def run(parent_model="", **fields):
        model = {"display_name": "classifier", "container_spec": {"image_uri": "image:1"}, **fields}
        request = {"parent": vertex_parent, "model": model, "parent_model": parent_model}
        request |= {} if parent_model else {"model_id": "classifier"}
        return models.upload_model(request=request).result(timeout=20)

    return run


@pytest.fixture
def services(bench, transport):
    return run_v2.ServicesClient(transport=transport)


@pytest.fixture
def service(services, vertex_parent):
    template = {"revision": "clf-v1", "containers": [{"image": "image:1"}]}
    request = {"parent": vertex_parent, "service_id": "clf", "service": {"template": template}}
    return services.create_service(request=request).result(timeout=20)


@_over_both
def test_versions_and_their_aliases(models, upload):
    first = upload(version_aliases=["champion"])
    second = upload("classifier", version_aliases=["candidate"])
    assert (first.model, first.model_version_id, second.model_version_id) == (second.model, "1", "2")
    models.merge_version_aliases(name=f"{first.model}@2", version_aliases=["champion", "-candidate"])
    aliases = {item.version_id: list(item.version_aliases) for item in models.list_model_versions(name=first.model)}
    assert aliases == {"1": ["default"], "2": ["champion"]}
    assert models.get_model(name=f"{first.model}@champion").version_id == "2"
    assert models.get_model(name=first.model).version_id == "1"


def test_what_breaks_a_rule_of_the_registry_is_refused(models, upload):
    with pytest.raises(exceptions.NotFound):
        upload("none")
    first = upload()
    with pytest.raises(exceptions.Conflict):
        upload()
    for aliases in (["Champion!"], ["-default"]):
        with pytest.raises(exceptions.BadRequest):
            models.merge_version_aliases(name=f"{first.model}@1", version_aliases=aliases)
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=f"{first.model}@champion")


@_over_both
def test_traffic_moves_from_one_deployed_model_to_the_next(endpoints, upload, vertex_parent):
    model = upload().model
    created = endpoints.create_endpoint(parent=vertex_parent, endpoint={"display_name": "clf"}).result(timeout=20)

    def deploy(deployed, split):
        request = {"model": model, "id": deployed, "dedicated_resources": _MACHINE}
        endpoints.deploy_model(endpoint=created.name, deployed_model=request, traffic_split=split).result(timeout=20)

    deploy("1", {"0": 100})
    deploy("2", {"0": 10, "1": 90})
    with pytest.raises(exceptions.BadRequest, match="still has traffic"):
        endpoints.undeploy_model(endpoint=created.name, deployed_model_id="1")
    read = endpoints.get_endpoint(name=created.name)
    for wrong in ({"2": 90}, {"2": 90, "3": 10}):
        with pytest.raises(exceptions.BadRequest, match="traffic_split"):
            endpoints.update_endpoint(
                endpoint={"name": created.name, "traffic_split": wrong}, update_mask={"paths": ["traffic_split"]}
            )
    changed = {"name": created.name, "traffic_split": {"2": 100}, "etag": read.etag}
    updated = endpoints.update_endpoint(endpoint=changed, update_mask={"paths": ["traffic_split"]})
    assert dict(updated.traffic_split) == {"2": 100}
    with pytest.raises(exceptions.Conflict):
        endpoints.update_endpoint(endpoint=changed, update_mask={"paths": ["traffic_split"]})
    endpoints.undeploy_model(endpoint=created.name, deployed_model_id="1").result(timeout=20)
    with pytest.raises(exceptions.BadRequest, match="deployed models"):
        endpoints.delete_endpoint(name=created.name)


@_over_both
def test_a_revision_gets_a_tag_and_then_the_traffic(services, service):
    service.template = {"revision": "clf-v2", "containers": [{"image": "image:2"}]}
    by_revision = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
    service.traffic = [
        {"type_": by_revision, "revision": "clf-v1", "percent": 100},
        {"type_": by_revision, "revision": "clf-v2", "percent": 0, "tag": "candidate"},
    ]
    stale = run_v2.Service(service)
    service = services.update_service(service=service).result(timeout=20)
    assert [(status.revision, status.percent) for status in service.traffic_statuses] == [
        ("clf-v1", 100),
        ("clf-v2", 0),
    ]
    assert service.traffic_statuses[1].uri.startswith("https://candidate---clf-")
    with pytest.raises(exceptions.Conflict):
        services.update_service(service=stale)
    service.traffic = [{"type_": by_revision, "revision": "clf-v2", "percent": 100}]
    request = {"service": service, "update_mask": {"paths": ["traffic"]}}
    service = services.update_service(request=request).result(timeout=20)
    assert [(status.revision, status.percent) for status in service.traffic_statuses] == [("clf-v2", 100)]
    services.delete_service(name=service.name).result(timeout=20)
    with pytest.raises(exceptions.NotFound):
        services.get_service(name=service.name)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"traffic": [{"type_": 1, "percent": 90}]}, exceptions.BadRequest),
        ({"traffic": [{"type_": 2, "revision": "clf-v9", "percent": 100}]}, exceptions.BadRequest),
        ({"template": {"containers": []}}, exceptions.BadRequest),
        ({"template": {"revision": "v2", "containers": [{"image": "image:2"}]}}, exceptions.BadRequest),
        ({"template": {"revision": "clf-v1", "containers": [{"image": "image:2"}]}}, exceptions.Conflict),
    ],
)
def test_what_breaks_a_rule_of_cloud_run_is_refused(services, service, fields, error, bench):
    before = services.get_service(name=service.name)
    for name, value in fields.items():
        setattr(service, name, value)
    with pytest.raises(error):
        services.update_service(service=service)
    assert services.get_service(name=service.name) == before
    assert bench.cloud_run.revisions[service.name] == ["clf-v1"]


def test_a_service_is_named_once_and_in_small_letters(services, service, vertex_parent):
    for service_id, error in (("clf", exceptions.Conflict), ("Clf", exceptions.BadRequest)):
        with pytest.raises(error):
            services.create_service(parent=vertex_parent, service_id=service_id, service=service)
