"""Alerts and dashboard: they are deploy's, name metrics that exist, and reach the cluster unchanged."""

import json
import re

import yaml

from .render import CHART, ROOT, minimal, one

RULES, DASHBOARD = CHART / "files/rules.yaml", CHART / "files/dashboard.json"
# The chart's copy, and the original: a chart cannot read files outside of its own folder.
COPIES = {RULES: "deploy/prometheus/rules.yml", DASHBOARD: "deploy/grafana/dashboard.json"}


def the_files_are_those_of_deploy():
    for copy, place in COPIES.items():
        original = ROOT / place
        if original.is_file():
            same = copy.read_bytes() == original.read_bytes()
            assert same, f"{copy.relative_to(ROOT)} differs from {place}: cp {place} {copy.relative_to(ROOT)}"


def every_metric_that_is_named_exists():
    known = set(re.findall(r"outboxd_[a-z_]+", (ROOT / "docs/metrics.md").read_text()))
    known |= {name + suffix for name in known for suffix in ("_bucket", "_sum", "_count")}
    expressions = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    expressions += re.findall(r'"(?:expr|query|definition)": "((?:[^"\\]|\\.)*)"', DASHBOARD.read_text())
    recorded = {rule.get("record") for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    for expression in expressions:
        # What `label_values` and matchers quote is no metric.
        for name in re.findall(r"\boutboxd_[a-z_]+", re.sub(r'\\?"[^"]*"', "", expression)):
            assert name in known or name in recorded, f"{name} is not in docs/metrics.md: {expression}"


def alerts_keep_their_text_and_take_changes():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rendered = one(minimal(prometheusRule={"enabled": True}), "PrometheusRule")["spec"]["groups"]
    assert rendered == groups, "the chart changes rules that no value changes"
    first, second = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule][:2]
    changed = one(minimal(prometheusRule={
        "enabled": True, "disabled": [first], "runbookBaseUrl": "https://runbooks.example.com/x/",
        "overrides": {second: {"for": "42m", "labels": {"severity": "page"}}},
        "extraGroups": [{"name": "ours", "rules": []}]}), "PrometheusRule")["spec"]["groups"]
    rules = {rule.get("alert"): rule for group in changed for rule in group["rules"]}
    assert first not in rules and rules[second]["for"] == "42m" and rules[second]["labels"]["severity"] == "page"
    assert changed[-1]["name"] == "ours"
    for rule in rules.values():
        url = rule.get("annotations", {}).get("runbook_url")
        assert url is None or re.fullmatch(r"https://runbooks\.example\.com/x/[^/]+", url), url


def the_dashboard_arrives_whole():
    rendered = one(minimal(grafanaDashboard={"enabled": True, "folder": "Queues"}), "ConfigMap", "outboxd-dashboard")
    assert rendered["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert rendered["metadata"]["annotations"] == {"grafana_folder": "Queues"}
    assert json.loads(rendered["data"]["outboxd.json"]) == json.loads(DASHBOARD.read_text())


CHECKS = [
    the_files_are_those_of_deploy,
    every_metric_that_is_named_exists,
    alerts_keep_their_text_and_take_changes,
    the_dashboard_arrives_whole,
]
