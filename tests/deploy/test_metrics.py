# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What is watched: scraped where it is served; alerts and dashboards of metrics that there are; a page an alert."""

import json
import re

import pytest
import yaml

from tests.deploy import helm
from tests.deploy.test_chart import MINIMAL, SETS, pods, workloads
from tests.parts.missing import required

PAGE = (helm.ROOT / "docs/metrics.md").read_text()
METRICS = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)) | {"up"}
ALERTS = yaml.safe_load((helm.CHART / "files/alerts.yaml").read_text())
RULES = [rule for group in ALERTS for rule in group["rules"]]
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in (helm.CHART / "files/dashboards").glob("*.json")}
# PromQL's own words, and the labels that metrics.md and Prometheus's Kubernetes discovery give.
WORDS = {"sum", "rate", "increase", "max", "min", "by", "or", "and", "time", "histogram_quantile", "SCOPE"}
LABELS = {
    "code",
    "method",
    "pool",
    "tenant",
    "model",
    "version",
    "reason",
    "topic",
    "status",
    "state",
    "le",
    "job",
    "pod",
    "namespace",
}


@pytest.fixture(scope="module", autouse=True)
def _helm():
    required("helm", helm.binary)


def metrics_of(expression):
    """The metrics that a PromQL expression reads, without histograms' suffixes."""
    text = re.sub(r'"[^"]*"|\$__rate_interval', "", expression)
    names = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", re.sub(r"\[[0-9a-z]*\]", "", text))) - WORDS - LABELS
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}


def expressions():
    return [rule["expr"] for rule in RULES] + [
        target["expr"] for board in DASHBOARDS.values() for panel in board["panels"] for target in panel["targets"]
    ]


def test_every_metric_of_alerts_and_dashboards_is_one_that_a_service_has():
    read = set().union(*map(metrics_of, expressions()))
    assert read - METRICS == set()
    assert len(read) > 30


def test_a_metric_that_no_service_has_would_be_found():
    assert metrics_of('sum(rate(dragoman_gateway_cals_total{code="OK"}[5m]))') - METRICS == {
        "dragoman_gateway_cals_total"
    }


def test_every_metric_of_ours_is_on_a_dashboard():
    shown = {
        name
        for board in DASHBOARDS.values()
        for panel in board["panels"]
        for target in panel["targets"]
        for name in metrics_of(target["expr"])
    }
    assert METRICS - {"up"} - shown == set()


@pytest.mark.parametrize("expression", expressions())
def test_brackets_of_expressions_close(expression):
    text = re.sub(r'"[^"]*"', "", expression)
    for opened, closed in ("()", "[]", "{}"):
        assert text.count(opened) == text.count(closed)


def test_every_alert_has_a_page_and_every_page_an_alert():
    page = (helm.ROOT / "docs/operators/alerts.md").read_text()
    assert sorted(re.findall(r"^## (Dragoman\w+)$", page, re.MULTILINE)) == sorted(rule["alert"] for rule in RULES)
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        assert "**Means**" in section, section.split("\n")[0]
        assert "**Do**" in section, section.split("\n")[0]


def test_rules_are_scoped_to_the_release():
    rendered = helm.objects(*SETS["production"])
    (rule,) = [one for one in rendered if one["kind"] == "PrometheusRule"]
    found = [one["expr"] for group in rule["spec"]["groups"] for one in group["rules"]]
    assert len(found) == len(RULES)
    assert all(f'namespace="{helm.NAMESPACE}", job=~"dragoman-.*"' in text and "SCOPE" not in text for text in found)
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    # Prometheus' own templates are left to it.
    assert any("{{ $labels.pod }}" in one["annotations"]["summary"] for one in rule["spec"]["groups"][0]["rules"])


def test_every_service_is_scraped_where_it_serves():
    rendered = helm.objects(*SETS["production"])
    (monitor,) = [one for one in rendered if one["kind"] == "ServiceMonitor"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    scraped = {
        one["metadata"]["name"]
        for one in rendered
        if one["kind"] == "Service"
        and wanted <= one["metadata"]["labels"].items()
        and endpoint["port"] in [port["name"] for port in one["spec"]["ports"]]
    }
    # Each pod once: the gateway's other Service has no such port.
    assert scraped == {one["metadata"]["name"] for one in workloads(rendered)}
    for _, spec in pods(rendered):
        container = spec["containers"][0]
        if container["name"] in ("test", "client", "sample", "init", "rescale"):
            continue
        told = {one["name"]: one["value"] for one in container["env"]}
        assert told[f"DRAGOMAN_{container['name'].upper()}_METRICS_LISTEN"] == "0.0.0.0:9464"
        assert {"name": "metrics", "containerPort": 9464} in container["ports"]


def test_dashboards_are_where_grafana_s_sidecar_looks():
    (found,) = [one for one in helm.objects(*SETS["production"]) if one["metadata"]["name"] == "dragoman-dashboards"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {json.loads(text)["uid"] for text in found["data"].values()} == {"dragoman-overview", "dragoman-workers"}


def test_nothing_of_it_is_there_unless_asked_for():
    kinds = {one["kind"] for one in helm.objects(*MINIMAL)}
    assert not kinds & {"ServiceMonitor", "PrometheusRule"}
    refused = helm.template(*MINIMAL, values=("metrics.rules=true",))
    assert "need metrics.enabled" in refused.stderr
