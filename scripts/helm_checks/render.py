"""Runs Helm and reads what it says."""

import os
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
HELM = os.environ.get("HELM") or str(ROOT / "target/tools/helm")
CHART = ROOT / "helm/outboxd"
NEEDED = {"database": {"existingSecret": {"name": "db"}}, "redis": {"existingSecret": {"name": "redis"}}}


class Refused(Exception):
    """Helm would not render; the text is its reason."""


def render(chart=CHART, values=None, files=(), kube="1.31.0", release="outboxd", options=()):
    """The objects that a chart renders to, in the namespace tasks."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as extra:
        yaml.safe_dump(values or {}, extra)
        extra.flush()
        command = [HELM, "template", release, str(chart), "--namespace", "tasks", "--kube-version", kube, *options]
        for file in [*files, extra.name]:
            command += ["--values", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def minimal(**values):
    """The objects of the chart outboxd with what it needs, and these values."""
    return render(values={**NEEDED, **values})


def one(objects, kind, name=None):
    found = [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, f"expected one {kind} {name or ''}, found {[item['metadata']['name'] for item in found]}"
    return found[0]


def none(objects, kind):
    found = [item["metadata"]["name"] for item in objects if item["kind"] == kind]
    assert not found, f"expected no {kind}, found {found}"


def environment(container):
    """The variables of a container, by name; a name that stands twice is refused."""
    names = [entry["name"] for entry in container.get("env") or []]
    assert len(names) == len(set(names)), f"the container {container['name']} has a variable twice: {names}"
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env") or []}
