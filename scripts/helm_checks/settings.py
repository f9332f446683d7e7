"""Values and configuration: the schema knows every value, wrong ones are refused, and outboxd accepts what is rendered."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

from .pods import containers, pods
from .refused import SCHEMA, SIDECAR, TEMPLATES
from .render import CHART, NEEDED, ROOT, Refused, render

# Allowed without standing in values.yaml: what Helm and parent charts bring.
FROM_OUTSIDE = {"global", "enabled"}
PROBE_EXTRAS = {"initialDelaySeconds", "successThreshold", "terminationGracePeriodSeconds"}
# Objects whose keys are the user's or Kubernetes' to choose.
FREE = {"config", "resources", "lifecycle", "affinity", "updateStrategy"}


def values_and_schema_list_the_same_keys(_):
    for chart in ("outboxd", "outboxd-sidecar"):
        folder = ROOT / "helm" / chart
        schema = json.loads((folder / "values.schema.json").read_text())
        compare(chart, yaml.safe_load((folder / "values.yaml").read_text()), schema)


def compare(path, values, schema):
    properties = schema.get("properties", {})
    assert schema.get("additionalProperties") is False, f"{path}: the schema allows unknown keys"
    listed = {key for key, value in properties.items() if not value.get("deprecated")}
    if "." not in path:
        listed -= FROM_OUTSIDE
    if ".probes." in path:
        listed -= PROBE_EXTRAS
    assert listed == set(values), f"{path}: only in one of values.yaml and values.schema.json: {sorted(listed ^ set(values))}"
    for key, value in properties.items():
        assert value.get("description"), f"{path}.{key}: the schema has no description"
        if "properties" in value and isinstance(values.get(key), dict) and key not in FREE:
            compare(f"{path}.{key}", values[key], value)


def renamed_values_are_known_to_schema_and_template(_):
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    for old in (key for key, value in properties.items() if value.get("deprecated")):
        refuse(f"{old}: {{}}", lambda old=old: render(values={**NEEDED, old: {}}), f"the value {old} is called")


def wrong_values_are_refused(charts):
    for values, reason in SCHEMA + TEMPLATES:
        refuse(json.dumps(values), lambda values=values: render(values=combined(NEEDED, values)), reason)
    app = Path(charts) / "examples/sidecar-app"
    for values, kube, reason in SIDECAR:
        refuse(f"sidecar {json.dumps(values)}", lambda v=values, k=kube: render(app, {"outboxd": v}, kube=k), reason)


def combined(base, values):
    result = dict(base)
    for key, value in values.items():
        result[key] = combined(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
    return result


def refuse(what, action, reason):
    try:
        action()
    except Refused as refused:
        said = " ".join(str(refused).split())
        assert reason in said, f"{what}\n  was refused, but for another reason: {said}\n  expected: {reason}"
    else:
        raise AssertionError(f"{what}\n  was accepted; expected: {reason}")


# What Kubernetes would inject for a Service called outboxd if service links were on.
SERVICE_LINKS = {
    "OUTBOXD_SERVICE_HOST": "10.0.0.1", "OUTBOXD_SERVICE_PORT": "14187", "OUTBOXD_SERVICE_PORT_HTTP": "14187",
    "OUTBOXD_PORT": "tcp://10.0.0.1:14187", "OUTBOXD_PORT_9187_TCP": "tcp://10.0.0.1:14187",
    "OUTBOXD_PORT_9187_TCP_PROTO": "tcp", "OUTBOXD_PORT_9187_TCP_PORT": "14187", "OUTBOXD_PORT_9187_TCP_ADDR": "10.0.0.1",
}


def outboxd_accepts_every_rendered_configuration(charts):
    binary = os.environ.get("OUTBOXD_BIN") or str(ROOT / "target/debug/outboxd")
    assert os.access(binary, os.X_OK), f"{binary} is not there: build it (cargo build), or set OUTBOXD_BIN to an outboxd"
    for file in sorted(CHART.glob("ci/*.yaml")):
        accepted(binary, file.name, render(files=[file]))
    for kube in ("1.28.0", "1.31.0"):
        accepted(binary, f"sidecar-app on {kube}", render(Path(charts) / "examples/sidecar-app", kube=kube, release="outboxd"))
    plain = (ROOT / "helm/examples/plain/deployment.yaml").read_text()
    accepted(binary, "plain/deployment.yaml", list(yaml.safe_load_all(plain)))


def accepted(binary, where, objects):
    """Runs `config validate` as each relay would see its file and its environment, service links included."""
    files = {item["metadata"]["name"]: item["data"]["outboxd.toml"] for item in objects
             if item["kind"] == "ConfigMap" and "outboxd.toml" in (item.get("data") or {})}
    for name, _, spec in pods(objects):
        for container in containers(spec):
            if container["name"] not in ("outboxd", "doctor"):
                continue
            with tempfile.TemporaryDirectory() as folder:
                arguments = ["--config", write(folder, "outboxd.toml", next(iter(files.values()), ""))]
                done = subprocess.run([binary, "config", "validate", "--deny-warnings", *arguments], capture_output=True,
                                      text=True, timeout=20, env={**SERVICE_LINKS, **variables(container, folder)})
            assert done.returncode == 0, f"{where}: {name} would not start:\n{done.stdout}{done.stderr}"


def variables(container, folder):
    """The container's environment with stand-ins for what comes out of Secrets."""
    result = {"DATABASE_URL": "postgres://a@b/c", "REDIS_URL": "redis://a"} if container.get("envFrom") else {}
    for entry in container.get("env") or []:
        name, value = entry["name"], entry.get("value")
        url = "redis://a" if "REDIS" in name else "postgres://a@b/c"
        if name.endswith("_FILE"):
            value = write(folder, name, url)
        result[name] = url if value is None else value
    if not any("URL" in name for name in result):
        result |= {"DATABASE_URL": "postgres://a@b/c", "REDIS_URL": "redis://a"}
    return result


def write(folder, name, text):
    path = Path(folder) / name
    path.write_text(text)
    return str(path)


CHECKS = [
    values_and_schema_list_the_same_keys,
    renamed_values_are_known_to_schema_and_template,
    wrong_values_are_refused,
    outboxd_accepts_every_rendered_configuration,
]
