"""Grafana's dashboard asks for metrics and labels that the server has, of the data source that is provisioned."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tunelane_serving.package import Histogram, read_manifest, seal
from tunelane_serving.server.app import create_app
from tunelane_serving.server.assembly import assemble
from tunelane_serving.server.options import parse

# Prometheus adds these to every series that it scrapes.
_SCRAPED_LABELS = {"job", "instance"}
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_WORDS_OF_PROMQL = {"or", "and", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"}


@pytest.fixture(scope="module")
def grafana(root: Path) -> Path:
    return root / "containers" / "grafana"


@pytest.fixture(scope="module")
def dashboard(grafana: Path) -> dict[str, Any]:
    content = json.loads((grafana / "dashboards" / "server.json").read_text())
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def expressions(dashboard: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return asked + [annotation["expr"] for annotation in dashboard["annotations"]["list"]]


@pytest.fixture(scope="module")
def exposed(tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Label names of every metric that the application exposes after some use, by the metric's name.

    It answers enough for a measurement of drift, it fails once, and it has a cache: each has metrics of its own.
    """
    place = tmp_path_factory.mktemp("server")
    package = _with_reference(tiny_package(place / "reviews"))
    assembly = assemble(
        parse(["--package", str(package), "--home", str(place), "--answer-cache-bytes", "1000"], {}), {}
    )
    services = assembly.services
    client = TestClient(create_app(services))
    assert client.post("/batch_predict", json={"texts": ["good"] * 120}).is_success
    hurried = replace(services, limits=replace(services.limits, inference_timeout_s=1e-9))
    assert TestClient(create_app(hurried)).post("/predict", json={"text": "bad"}).status_code == 503
    assert services.recorder is not None
    assert services.drift_watch is not None
    services.recorder.close(timeout_s=10)
    services.drift_watch.look()
    text = client.get("/metrics").text
    assembly.close()
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


def _with_reference(package: Path) -> Path:
    """Give a package the histogram that drift is measured against, as the parity stage does."""
    manifest = read_manifest(package)
    reference = (Histogram("label", (60, 40), categories=("negative", "positive")),)
    seal(package, msgspec.structs.replace(manifest, reference=reference))
    return package


def test_every_metric_and_label_that_is_asked_for_is_exposed(
    expressions: list[str], exposed: dict[str, set[str]]
) -> None:
    assert len(expressions) > 10
    for expression in expressions:
        metrics, labels = _named(expression)
        assert metrics, expression
        assert metrics <= exposed.keys(), expression
        for metric in metrics:
            assert labels <= exposed[metric] | _SCRAPED_LABELS, expression


def test_every_metric_of_the_server_is_on_the_dashboard(expressions: list[str], exposed: dict[str, set[str]]) -> None:
    """What nobody looks at need not be counted; `_created` is the library's own."""
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for asked in expressions for name in _named(asked)[0]}
    counted = {name for name in exposed if name.startswith("tunelane_") and not name.endswith("_created")}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in counted} == shown - {
        name for name in shown if name.startswith("process_")
    }


def test_brackets_of_every_expression_close(expressions: list[str]) -> None:
    for expression in expressions:
        left = re.sub(r'"[^"]*"', "", expression)
        while (shorter := re.sub(r"\([^(){}\[\]]*\)|\{[^(){}\[\]]*\}|\[[^(){}\[\]]*\]", "", left)) != left:
            left = shorter
        assert not re.search(r"[(){}\[\]]", left), expression


def test_legends_name_labels_that_the_answer_has(dashboard: dict[str, Any], exposed: dict[str, set[str]]) -> None:
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            metrics, _ = _named(target["expr"])
            grouped = re.search(r"\bby \(([^)]*)\)", target["expr"])
            aggregated = set(grouped[1].replace(" ", "").split(",")) if grouped else set()
            known = aggregated or set().union(*(exposed[metric] for metric in metrics)) | _SCRAPED_LABELS
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= known, panel["title"]


def test_everything_is_asked_of_the_provisioned_data_source(dashboard: dict[str, Any], grafana: Path) -> None:
    provisioned = yaml.safe_load((grafana / "provisioning" / "datasources" / "prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    named = [panel["datasource"] for panel in dashboard["panels"]]
    named += [target["datasource"] for panel in dashboard["panels"] for target in panel["targets"]]
    named += [annotation["datasource"] for annotation in dashboard["annotations"]["list"]]
    assert {(name["type"], name["uid"]) for name in named} == {(source["type"], source["uid"])}


def test_the_data_source_and_the_jobs_are_those_of_the_compose_file(
    compose: dict[str, Any], expressions: list[str], grafana: Path
) -> None:
    provisioned = yaml.safe_load((grafana / "provisioning" / "datasources" / "prometheus.yml").read_text())
    prometheus = compose["services"]["prometheus"]
    assert provisioned["datasources"][0]["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in prometheus["ports"]
    scraped = yaml.safe_load((grafana.parent / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"] for job in scraped["scrape_configs"]}
    assert {job for asked in expressions for job in re.findall(r'job="([^"]*)"', asked)} == jobs
    interval = provisioned["datasources"][0]["jsonData"]["timeInterval"]
    assert interval == scraped["global"]["scrape_interval"]


def test_the_dashboard_lies_where_grafana_looks(compose: dict[str, Any], grafana: Path) -> None:
    mounts = dict(reversed(volume.split(":")[:2]) for volume in compose["services"]["grafana"]["volumes"])
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    provider = yaml.safe_load((grafana / "provisioning" / "dashboards" / "tunelane.yml").read_text())["providers"][0]
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/server.json"


def test_panels_do_not_overlap_and_have_titles_and_ids_of_their_own(dashboard: dict[str, Any]) -> None:
    places = [SimpleNamespace(**panel["gridPos"]) for panel in dashboard["panels"]]
    cells = [(x, y) for p in places for x in range(p.x, p.x + p.w) for y in range(p.y, p.y + p.h)]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    for key in ("id", "title"):
        assert len({panel[key] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def _named(expression: str) -> tuple[set[str], set[str]]:
    """Metrics and labels that a PromQL expression names."""
    text = re.sub(r'"[^"]*"', "", expression)
    labels: set[str] = set()
    for pattern in (r"\{([^}]*)\}", r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)"):
        for group in re.findall(pattern, text):
            labels |= set(_WORD.findall(group))
        text = re.sub(pattern, " ", text)
    text = re.sub(r"\[[^\]]*\]", "", text)
    metrics = {match[0] for match in _WORD.finditer(text) if not text[match.end() :].lstrip().startswith("(")}
    return metrics - _WORDS_OF_PROMQL, labels
