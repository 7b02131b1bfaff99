"""docker-compose.yml: its parts fit each other and the server, and nothing in it has a password of its own."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from tunelane_components.images import SERVER
from tunelane_pipelines.settings import load_settings, local_deployment
from tunelane_serving.server.assembly import assemble
from tunelane_serving.server.options import parse

_SERVICES = ["grafana", "postgres", "prometheus", "server"]


def _mounts(service: dict[str, Any]) -> dict[str, str]:
    """Sources of a service's mounts, by their place in the container."""
    mounts = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target = volume.split(":")[:2]
        else:
            source, target = volume["source"], volume["target"]
        mounts[target] = source
    return mounts


def test_the_services_are_the_server_and_what_watches_it(compose: dict[str, Any]) -> None:
    assert sorted(compose["services"]) == _SERVICES


def test_what_is_mounted_exists_or_is_a_named_volume(compose: dict[str, Any], root: Path) -> None:
    for service in compose["services"].values():
        for source in _mounts(service).values():
            if source.startswith("./"):
                assert (root / "containers" / source).exists()
            elif not source.startswith("${"):
                assert source in compose["volumes"]


def test_the_server_is_the_projects_image_and_follows_the_samples_deployment(
    compose: dict[str, Any], root: Path
) -> None:
    server = compose["services"]["server"]
    assert server["image"] == SERVER
    assert (root / "containers" / server["build"]["context"]).resolve() == root
    assert (root / server["build"]["dockerfile"]).is_file()
    flag, directory = server["command"]
    assert flag == "--deployment"
    default = re.fullmatch(r"\$\{TUNELANE_DEPLOYMENT:-(.+)\}", _mounts(server)[directory])
    assert default
    # The same directory as `make run` in the repository's root deploys to.
    expected = local_deployment(load_settings(root=root / ".tunelane"), "sentiment")
    assert (root / "containers" / default[1]).resolve() == expected


@pytest.mark.parametrize("name", _SERVICES)
def test_each_service_has_a_health_check(
    compose: dict[str, Any], dockerfile: Callable[[str], list[tuple[str, str]]], name: str
) -> None:
    of_the_image = name == "server" and any(instruction == "HEALTHCHECK" for instruction, _ in dockerfile(name))
    assert of_the_image or compose["services"][name]["healthcheck"]["test"][0] == "CMD"


def test_services_wait_for_services_that_there_are(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, wait in service.get("depends_on", {}).items():
            condition = wait["condition"]
            assert condition in {"service_started", "service_healthy"}
            assert condition == "service_started" or "healthcheck" in compose["services"][name]


def test_passwords_come_from_the_environment_and_must_be_given(compose: dict[str, Any]) -> None:
    found = {}
    for service in compose["services"].values():
        found |= {name: value for name, value in service.get("environment", {}).items() if "PASSWORD" in name}
    assert sorted(found) == ["GF_DATABASE_PASSWORD", "GF_SECURITY_ADMIN_PASSWORD", "PGPASSWORD", "POSTGRES_PASSWORD"]
    for value in found.values():
        assert re.fullmatch(r"\$\{\w+:\?Set \w+ to a password of your own\}", value)
    assert found["GF_DATABASE_PASSWORD"] == found["PGPASSWORD"] == found["POSTGRES_PASSWORD"]


def test_the_server_keeps_its_data_in_a_database_of_its_own(compose: dict[str, Any], root: Path) -> None:
    server, postgres = (compose["services"][name] for name in ("server", "postgres"))
    url = make_url(server["environment"]["TUNELANE_DATABASE_URL"])
    assert (url.drivername, url.host, url.port) == ("postgresql", "postgres", 5432)
    # The password is libpq's to find: a URL would have to have it encoded.
    assert (url.username, url.password) == (postgres["environment"]["POSTGRES_USER"], None)
    assert url.database != postgres["environment"]["POSTGRES_DB"]
    # Where the image's entry point looks for what to run at first: https://hub.docker.com/_/postgres
    script = _mounts(postgres)["/docker-entrypoint-initdb.d/create-databases.sql"]
    statements = re.sub(r"--.*", "", (root / "containers" / script).read_text()).strip()
    assert statements == f"CREATE DATABASE {url.database};"


def test_the_server_writes_to_its_volume_alone(
    compose: dict[str, Any], dockerfile: Callable[[str], list[tuple[str, str]]]
) -> None:
    server = compose["services"]["server"]
    assert server["read_only"] is True
    assert server["tmpfs"] == ["/tmp"]  # noqa: S108 - for uploads under way
    home = Path(next(rest for instruction, rest in reversed(dockerfile("server")) if instruction == "WORKDIR"))
    named = {target for target, source in _mounts(server).items() if source in compose["volumes"]}
    (volume,) = named
    assert (home / parse(["--package", "package"], {}).home).is_relative_to(volume)
    assert any("install" in rest and rest.endswith(volume) for instruction, rest in dockerfile("server"))


def test_the_server_starts_as_the_compose_file_says(compose: dict[str, Any], tmp_path: Path) -> None:
    """Its options and what the environment gives it are known, an empty list of keys included."""
    server = compose["services"]["server"]
    environment = {name: re.sub(r"\$\{\w+:[-?](.*)\}", "", value) for name, value in server["environment"].items()}
    options = parse([*server["command"], "--home", str(tmp_path)], environment)
    assert options.database == environment["TUNELANE_DATABASE_URL"]
    assembly = assemble(options, environment)
    assert assembly.services.repository is not None
    assembly.close()


def test_grafana_keeps_its_state_in_the_database_that_there_is(compose: dict[str, Any]) -> None:
    grafana, postgres = (compose["services"][name]["environment"] for name in ("grafana", "postgres"))
    assert grafana["GF_DATABASE_TYPE"] == "postgres"
    assert grafana["GF_DATABASE_HOST"] == "postgres:5432"
    assert (grafana["GF_DATABASE_NAME"], grafana["GF_DATABASE_USER"]) == (
        postgres["POSTGRES_DB"],
        postgres["POSTGRES_USER"],
    )
    assert compose["services"]["grafana"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_ports_are_open_to_this_machine_alone_and_images_are_of_one_version(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert re.search(r":\D*\d", service["image"])


def test_prometheus_asks_the_server_where_it_listens(
    compose: dict[str, Any], dockerfile: Callable[[str], list[tuple[str, str]]], root: Path
) -> None:
    path = _mounts(compose["services"]["prometheus"])["/etc/prometheus/prometheus.yml"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in compose["services"]["prometheus"]["command"]
    config = yaml.safe_load((root / "containers" / path).read_text())
    (job,) = config["scrape_configs"]
    (port,) = [rest for instruction, rest in dockerfile("server") if instruction == "EXPOSE"]
    assert job["static_configs"] == [{"targets": [f"server:{port}"]}]
    assert job["metrics_path"] == "/metrics"
