"""What a registry and its readers learn of a chart: Chart.yaml, and that every place names the same release."""

import re

import yaml

from .render import ROOT

CHARTS = ("outboxd", "outboxd-sidecar")
FIELDS = ("apiVersion", "name", "description", "type", "version", "appVersion", "kubeVersion", "keywords", "home", "sources", "icon",
          "maintainers")
ANNOTATIONS = ("category", "license", "prerelease", "images", "links", "changes")
SEMVER = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")
KINDS = {"added", "changed", "deprecated", "removed", "fixed", "security"}


def chart(name):
    return yaml.safe_load((ROOT / "helm" / name / "Chart.yaml").read_text())


def every_chart_says_what_it_is():
    for name in CHARTS:
        said = chart(name)
        missing = [field for field in FIELDS if not said.get(field)]
        missing += [f"artifacthub.io/{key}" for key in ANNOTATIONS if f"artifacthub.io/{key}" not in said["annotations"]]
        assert not missing, f"helm/{name}/Chart.yaml lacks {', '.join(missing)}"
        assert SEMVER.fullmatch(said["version"]), f"helm/{name}: the version {said['version']} is no SemVer"
        before = str("-" in said["version"] or said["version"].startswith("0.")).lower()
        assert said["annotations"]["artifacthub.io/prerelease"] == before, f"helm/{name}: prerelease should be {before!r}"
        for change in yaml.safe_load(said["annotations"]["artifacthub.io/changes"]):
            assert change["kind"] in KINDS and change["description"], f"helm/{name}: {change}"
        path = said["icon"].partition("/main/")[2]
        assert (ROOT / path).is_file(), f"helm/{name}: the icon {path} is not there"


def every_place_names_the_same_release():
    release = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    for name in CHARTS:
        said = chart(name)
        assert said["appVersion"] == release, f"helm/{name}: appVersion is {said['appVersion']}, and Cargo.toml says {release}"
        for image in yaml.safe_load(said["annotations"]["artifacthub.io/images"]):
            assert image["image"].endswith(f":{release}"), f"helm/{name}: artifacthub.io/images names {image['image']}"
    for path in sorted((ROOT / "helm/examples").rglob("*.yaml")):
        for image in re.findall(r"outboxd/outboxd:(\S+)", path.read_text()):
            assert image == release, f"{path.relative_to(ROOT)} names the release {image}, and Cargo.toml says {release}"
    app = yaml.safe_load((ROOT / "helm/examples/sidecar-app/Chart.yaml").read_text())
    assert app["dependencies"][0]["version"] == chart("outboxd-sidecar")["version"], "the example depends on another version"


CHECKS = [every_chart_says_what_it_is, every_place_names_the_same_release]
