"""Whether the API servers of several versions would take what is rendered; custom resources by small schemas of our own."""

import json
from pathlib import Path

import jsonschema
import kubernetes_validate

from .render import CHART, render
from .sidecar import app, documents, patched

# The oldest that the charts promise, the first with native sidecars, a usual one; the newest is added.
VERSIONS = ["1.25.0", "1.29.0", "1.31.0"]
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "crds").glob("*.json")}


def versions():
    newest = kubernetes_validate.latest_version()
    return VERSIONS + ([newest] if newest not in VERSIONS else [])


def native(item):
    spec = item.get("spec", {}).get("template", {}).get("spec", {})
    return any(container.get("restartPolicy") == "Always" for container in spec.get("initContainers") or [])


def validate(where, objects, version):
    for item in objects:
        name = f"{where} on Kubernetes {version}: {item['kind']} {item['metadata']['name']}"
        try:
            if item["kind"] in SCHEMAS:
                jsonschema.validate(item, SCHEMAS[item["kind"]])
            else:
                kubernetes_validate.validate(item, version, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            path = ".".join(str(part) for part in getattr(error, "path", []))
            raise AssertionError(f"{name}: {path}: {getattr(error, 'message', error)}") from None


def every_version_takes_every_example(_):
    for version in versions():
        for file in sorted(CHART.glob("ci/*.yaml")):
            validate(file.name, render(files=[file], kube=version), version)


def every_version_takes_the_sidecar(charts):
    for version in versions():
        objects = app(version, charts)
        modern = tuple(int(part) for part in version.split(".")[:2]) >= (1, 29)
        assert any(native(item) for item in objects) is modern, f"{version}: the sidecar has the wrong form"
        validate("sidecar-app", objects, version)
        validate("sidecar-app (classic)", app(version, charts, form="classic"), version)


def every_version_takes_the_plain_manifests(charts):
    for version in versions():
        validate("plain", documents("deployment.yaml", "migration.yaml"), version)
        if tuple(int(part) for part in version.split(".")[:2]) >= (1, 29):
            validate("plain/sidecar", [patched(charts)], version)


CHECKS = [
    every_version_takes_every_example,
    every_version_takes_the_sidecar,
    every_version_takes_the_plain_manifests,
]
