"""What the library chart outboxd-sidecar must render, seen through the example application, and the plain manifests."""

from pathlib import Path

import yaml

from .pods import containers, insecure, merged, pods
from .render import ROOT, environment, none, one, render

PLAIN = ROOT / "helm/examples/plain"


def app(kube, charts, **relay):
    """The example's objects; `charts` is the copy whose dependencies are built."""
    return render(Path(charts) / "examples/sidecar-app", values={"outboxd": relay}, kube=kube, release="demo")


def relay_of(objects, kind):
    spec = one(objects, "Deployment")["spec"]["template"]["spec"]
    others = "containers" if kind == "initContainers" else "initContainers"
    assert "outboxd" not in [c["name"] for c in spec.get(others) or []], f"the relay stands among the {others}"
    return next(c for c in spec[kind] if c["name"] == "outboxd")


def it_is_native_where_that_exists_and_classic_elsewhere(charts):
    native = relay_of(app("1.29.0", charts), "initContainers")
    assert native["restartPolicy"] == "Always" and "lifecycle" not in native
    classic = relay_of(app("1.28.0", charts), "containers")
    assert "restartPolicy" not in classic
    command = classic["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:5] == ["/usr/bin/outboxd", "wait", "--drained", "--timeout", "20s"], command
    asleep = relay_of(app("1.30.0", charts, form="classic", classic={"preStopSeconds": 7}), "containers")
    assert asleep["lifecycle"] == {"preStop": {"sleep": {"seconds": 7}}}
    assert "lifecycle" not in relay_of(app("1.30.0", charts, form="classic", classic={"preStop": "none"}), "containers")


def it_is_modest_and_asks_nothing_of_redis(charts):
    for kube, kind in (("1.28.0", "containers"), ("1.31.0", "initContainers")):
        relay = relay_of(app(kube, charts), kind)
        variables = environment(relay)
        assert variables["OUTBOXD_DATABASE__POOL_SIZE"] == "2"
        assert variables["OUTBOXD_HTTP__LISTEN"] == "0.0.0.0:14187"
        assert variables["OUTBOXD_RELAY__DRAIN"] == "committed"
        paths = {name: relay[name + "Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
        assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}, paths
    planned = relay_of(app("1.31.0", charts, config={"relay": {"drain": "planned"}}), "initContainers")
    assert environment(planned)["OUTBOXD_RELAY__DRAIN"] == "planned"
    quiet = relay_of(app("1.31.0", charts, probes={"readiness": {"enabled": False}}), "initContainers")
    assert "readinessProbe" not in quiet


def it_finds_a_primary_through_sentinels(charts):
    relay = relay_of(app("1.31.0", charts, redis={"sentinelPassword": {"existingSecret": {"name": "s"}}},
                         config={"redis": {"default": {"sentinels": ["a:26379"]}}}), "initContainers")
    expected = {"secretKeyRef": {"name": "s", "key": "password"}}
    assert environment(relay)["OUTBOXD_REDIS__DEFAULT__SENTINEL_PASSWORD"] == expected


def its_pods_are_restricted(charts):
    for kube in ("1.25.0", "1.29.0", "1.31.0"):
        for name, _, spec in pods(app(kube, charts)):
            assert not insecure(spec), f"{name} on {kube}: {insecure(spec)}"
            for container in containers(spec):
                environment(container)


def its_configuration_comes_with_a_checksum(charts):
    def sums(**relay):
        return one(app("1.31.0", charts, **relay), "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/outboxd"]
    assert sums() != sums(config={"defaults": {"window": 1}})
    bare = app("1.31.0", charts, config={"defaults": None})
    none(bare, "ConfigMap")
    assert "volumeMounts" not in relay_of(bare, "initContainers")


def its_tag_is_its_own_version(charts):
    chart = yaml.safe_load((ROOT / "helm/outboxd-sidecar/Chart.yaml").read_text())
    relay = relay_of(app("1.31.0", charts), "initContainers")
    assert relay["image"].endswith(":" + chart["appVersion"]), f"{relay['image']}: outboxd.sidecar.body names another release"


def both_charts_write_toml_alike(_):
    ours, theirs = (ROOT / "helm" / name / "templates/_toml.tpl" for name in ("outboxd", "outboxd-sidecar"))
    assert ours.read_text() == theirs.read_text(), f"{theirs} differs from {ours}: copy it"


def documents(*paths):
    return [item for path in paths for item in yaml.safe_load_all((PLAIN / path).read_text()) if item]


def patched(charts):
    """The example application, without its own relay, under the plain patch."""
    patch = documents("sidecar/patch.yaml")[0]
    deployment = one(app("1.28.0", charts), "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    spec["containers"] = [c for c in spec["containers"] if c["name"] != "outboxd"]
    spec["initContainers"], spec["volumes"] = [], []
    patch["metadata"]["name"] = deployment["metadata"]["name"]
    return merged(deployment, patch)


def plain_manifests_are_restricted_and_select_their_own(charts):
    objects = documents("deployment.yaml", "migration.yaml") + [patched(charts)]
    for name, _, spec in pods(objects):
        assert not insecure(spec), f"{name}: {insecure(spec)}"
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, name
    relay = one(objects, "Deployment", "outboxd")
    labels = relay["spec"]["template"]["metadata"]["labels"]
    for selector in (relay["spec"]["selector"]["matchLabels"], one(objects, "Service")["spec"]["selector"],
                     one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]):
        assert selector == labels, selector


def the_plain_sidecar_is_the_charts(charts):
    ours = relay_of(app("1.31.0", charts, config={"defaults": None}), "initContainers")
    plain = patched(charts)["spec"]["template"]["spec"]["initContainers"][0]
    for key in ("image", "args", "restartPolicy", "securityContext", "resources"):
        assert plain[key] == ours[key], f"{key}: {plain[key]} instead of {ours[key]}"
    assert environment(plain).keys() == environment(ours).keys()


def the_component_patches_what_is_there(_):
    component = documents("sidecar/kustomization.yaml")[0]
    assert component["kind"] == "Component"
    for patch in component["patches"]:
        assert (PLAIN / "sidecar" / patch["path"]).is_file(), patch


CHECKS = [
    it_is_native_where_that_exists_and_classic_elsewhere,
    it_is_modest_and_asks_nothing_of_redis,
    it_finds_a_primary_through_sentinels,
    its_pods_are_restricted,
    its_configuration_comes_with_a_checksum,
    its_tag_is_its_own_version,
    both_charts_write_toml_alike,
    plain_manifests_are_restricted_and_select_their_own,
    the_plain_sidecar_is_the_charts,
    the_component_patches_what_is_there,
]
