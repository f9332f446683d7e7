"""What the chart outboxd must render."""

import shutil
import tempfile
from pathlib import Path

import yaml

from .pods import containers, insecure, pods
from .render import CHART, NEEDED, environment, minimal, none, one, render

RELAY = {"app.kubernetes.io/name": "outboxd", "app.kubernetes.io/instance": "outboxd", "app.kubernetes.io/component": "relay"}


def relay(objects):
    return one(objects, "Deployment")["spec"]["template"]["spec"]


def every_example_is_safe_and_selects_its_own():
    for file in sorted(CHART.glob("ci/*.yaml")):
        objects = render(files=[file])
        for name, metadata, spec in pods(objects):
            assert not insecure(spec), f"{file.name}: {name} is not restricted: {'; '.join(insecure(spec))}"
            assert spec["automountServiceAccountToken"] is False, f"{file.name}: {name} mounts a token"
            assert spec["enableServiceLinks"] is False, f"{file.name}: {name} takes service links"
            if not name.startswith("Pod "):
                assert "helm.sh/chart" not in metadata["labels"], f"{file.name}: {name} restarts with every version of the chart"
            for container in containers(spec):
                environment(container)
            mounts_have_volumes(f"{file.name}: {name}", spec)
        selectors(file.name, objects)
        for item in objects:
            assert item["kind"] not in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"), f"{file.name}: RBAC"
            assert len(item["metadata"]["name"]) <= 63, item["metadata"]["name"]


def mounts_have_volumes(where, spec):
    volumes = [volume["name"] for volume in spec.get("volumes") or []]
    assert len(volumes) == len(set(volumes)), f"{where} has a volume twice: {volumes}"
    for container in containers(spec):
        for mount in container.get("volumeMounts") or []:
            assert mount["name"] in volumes, f"{where}: {container['name']} mounts {mount['name']}, which is no volume"


def selectors(where, objects):
    deployment = one(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    chosen = [("Deployment", deployment["spec"]["selector"]["matchLabels"])]
    chosen += [(item["kind"], item["spec"]["selector"]) for item in objects if item["kind"] == "Service"]
    chosen += [(item["kind"], item["spec"]["selector"]["matchLabels"]) for item in objects
               if item["kind"] in ("PodDisruptionBudget", "ServiceMonitor", "PodMonitor")]
    for kind, selector in chosen:
        expected = {**RELAY, "app.kubernetes.io/name": labels["app.kubernetes.io/name"]}
        assert selector == expected, f"{where}: {kind} selects {selector}"
        assert selector.items() <= labels.items(), f"{where}: {kind} selects nothing: {selector}"
    for item in objects:
        if item["kind"] == "NetworkPolicy":
            selector = item["spec"]["podSelector"]["matchLabels"]
            for name, metadata, _ in pods(objects):
                assert selector.items() <= metadata["labels"].items(), f"{where}: the NetworkPolicy does not hold for {name}"


def the_default_is_two_relays_with_a_budget_and_a_soft_spread():
    objects = minimal()
    deployment = one(objects, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    spread = relay(objects)["topologySpreadConstraints"]
    assert [c["whenUnsatisfiable"] for c in spread] == ["ScheduleAnyway"] * 2
    assert all(c["labelSelector"]["matchLabels"] == RELAY for c in spread)
    for kind in ("Secret", "Job", "NetworkPolicy", "ScaledObject", "ServiceMonitor", "PrometheusRule", "HorizontalPodAutoscaler"):
        none(objects, kind)


def a_single_relay_has_no_budget():
    none(minimal(replicaCount=1), "PodDisruptionBudget")
    none(minimal(keda={"enabled": True, "trigger": "postgresql", "minReplicas": 1}), "PodDisruptionBudget")


def an_autoscaler_owns_the_number_of_relays():
    for values in ({"autoscaling": {"enabled": True}}, {"keda": {"enabled": True, "trigger": "postgresql"}}):
        assert "replicas" not in one(minimal(**values), "Deployment")["spec"], values


def kubelet_reaches_the_probes():
    container = relay(minimal(http={"port": 9200}))["containers"][0]
    assert environment(container)["OUTBOXD_HTTP__LISTEN"] == "0.0.0.0:9200"
    assert container["ports"] == [{"name": "http", "containerPort": 9200, "protocol": "TCP"}]
    paths = {kind: container[kind + "Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}, paths


def a_change_of_the_configuration_restarts_the_pods():
    def sums(**values):
        annotations = one(minimal(**values), "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return {key: value for key, value in annotations.items() if key.startswith("checksum/")}
    assert set(sums()) == {"checksum/config"}, "an existing Secret has no checksum: the chart does not read it"
    assert sums() != sums(config={"defaults": {"window": 1}})
    inline = {"database": {"url": "postgres://a/b"}}
    one_url, other_url = (one(render(values={**inline, "redis": {"url": url}}), "Deployment")["spec"]["template"]["metadata"]
                          ["annotations"]["checksum/secret"] for url in ("redis://a", "redis://b"))
    assert one_url != other_url


def secrets_come_as_variables_or_as_files():
    container = relay(minimal())["containers"][0]
    assert environment(container)["OUTBOXD_DATABASE__URL"] == {"secretKeyRef": {"name": "db", "key": "url"}}
    spec = relay(minimal(secretsAsFiles=True))
    variables = environment(spec["containers"][0])
    assert variables["OUTBOXD_DATABASE__URL_FILE"] == "/run/secrets/outboxd/database_url"
    assert variables["OUTBOXD_REDIS__DEFAULT__URL_FILE"] == "/run/secrets/outboxd/redis_default_url"
    assert "OUTBOXD_DATABASE__URL" not in variables
    projected = next(volume["projected"] for volume in spec["volumes"] if volume["name"] == "outboxd-secrets")
    assert projected["defaultMode"] == 0o440
    assert [s["secret"]["items"][0]["path"] for s in projected["sources"]] == ["database_url", "redis_default_url"]


SENTINELS = {"redis": {"default": {"sentinels": ["a", "b:26379", "[::1]:26380"]}}}


def the_network_lets_sentinels_through_where_there_are_any():
    def ports(**values):
        policy = one(minimal(networkPolicy={"enabled": True, **values.pop("policy", {})}, **values), "NetworkPolicy")
        return [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["egress"]]
    assert ports() == [[53, 53], [5432, 6432], [6379]], ports()
    assert ports(config=SENTINELS)[3:] == [[26379, 26380]], ports(config=SENTINELS)
    assert ports(config=SENTINELS, policy={"egress": {"sentinelPorts": [5000]}})[3:] == [[5000]]


def passwords_of_sentinels_come_out_of_secrets():
    redis = {**NEEDED["redis"], "sentinelPassword": {"existingSecret": {"name": "s"}}}
    container = relay(minimal(redis=redis, config=SENTINELS))["containers"][0]
    expected = {"secretKeyRef": {"name": "s", "key": "password"}}
    assert environment(container)["OUTBOXD_REDIS__DEFAULT__SENTINEL_PASSWORD"] == expected
    spec = relay(minimal(redis=redis, config=SENTINELS, secretsAsFiles=True))
    file = environment(spec["containers"][0])["OUTBOXD_REDIS__DEFAULT__SENTINEL_PASSWORD_FILE"]
    projected = next(volume["projected"] for volume in spec["volumes"] if volume["name"] == "outboxd-secrets")
    assert file.endswith("/" + projected["sources"][-1]["secret"]["items"][0]["path"]), file


def migrations_run_where_the_mode_says():
    none(minimal(), "Job")
    inside = relay(minimal(migrations={"mode": "initContainer", "existingSecret": {"name": "ddl", "key": "k"}}))
    assert [c["name"] for c in inside["initContainers"]] == ["migrate"]
    assert inside["initContainers"][0]["args"] == ["migrate", "up"]
    assert environment(inside["initContainers"][0])["OUTBOXD_DATABASE__URL"] == {"secretKeyRef": {"name": "ddl", "key": "k"}}
    job = one(minimal(migrations={"mode": "job"}, config={"database": {"schema": "s", "pool_size": 2}}), "Job")
    assert "helm.sh/hook" not in job["metadata"].get("annotations", {})
    assert job["spec"]["ttlSecondsAfterFinished"] >= 300
    variables = environment(job["spec"]["template"]["spec"]["containers"][0])
    assert (variables["OUTBOXD_DATABASE__SCHEMA"], variables["OUTBOXD_DATABASE__POOL_SIZE"]) == ("s", "2")


def a_job_has_another_name_whenever_it_could_be_another_job():
    def name(release="outboxd", **values):
        job = one(render(values={**NEEDED, "migrations": {"mode": "job"}, **values}, release=release), "Job")
        return job["metadata"]["name"]
    assert name().startswith("outboxd-migrate-1-"), name()
    assert name() == name()
    assert name() != name(image={"tag": "9"}), "to Argo CD every revision is 1"
    assert len(name(release="r" * 53, fullnameOverride="f" * 63)) == 63


def a_hook_needs_nothing_of_the_chart():
    for hooks, annotation in (("helm", "helm.sh/hook"), ("argocd", "argocd.argoproj.io/hook")):
        job = one(minimal(migrations={"mode": "job", "hooks": hooks}), "Job")
        spec = job["spec"]["template"]["spec"]
        assert annotation in job["metadata"]["annotations"]
        assert "serviceAccountName" not in spec and "volumes" not in spec, spec


def keda_asks_for_the_oldest_age():
    objects = minimal(keda={"enabled": True, "prometheus": {"serverAddress": "http://p:9090"}})
    trigger = one(objects, "ScaledObject")["spec"]["triggers"][0]
    assert trigger["metadata"]["query"] == 'max(outboxd_oldest_pending_age_seconds{namespace="tasks"})'
    assert trigger["metricType"] == "Value" and trigger["metadata"]["threshold"] == "30"
    objects = minimal(keda={"enabled": True, "trigger": "postgresql"}, config={"database": {"internal_schema": "machinery"}})
    trigger = one(objects, "ScaledObject")["spec"]["triggers"][0]
    assert trigger["metadata"]["query"] == 'SELECT coalesce(max(oldest_ms), 0) / 1000 FROM "machinery".outbox_gauge()'
    reference = one(objects, "TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == reference["metadata"]["name"]
    assert reference["spec"]["secretTargetRef"] == [{"parameter": "connection", "name": "db", "key": "url"}]


def the_test_asks_the_doctor():
    pod = one(minimal(), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["containers"][0]["args"] == ["doctor", "--json"]
    assert "/etc/outboxd" in [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
    assert pod["spec"]["restartPolicy"] == "Never"


def names_follow_the_release():
    for release, values, expected in (("outboxd", {}, "outboxd"), ("tasks", {}, "tasks-outboxd"), ("a", {"nameOverride": "b"}, "a-b"),
                                      ("a", {"fullnameOverride": "c"}, "c")):
        objects = render(values={**NEEDED, **values}, release=release)
        assert one(objects, "Deployment")["metadata"]["name"] == expected, (release, values)


def a_registry_for_all_charts_is_stronger():
    image = relay(minimal(**{"global": {"imageRegistry": "mirror.example.com"}}))["containers"][0]["image"]
    assert image.startswith("mirror.example.com/outboxd/outboxd:"), image


def a_chart_that_depends_on_it_may_switch_and_name_it():
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder) / "shop"
        shutil.copytree(CHART, parent / "charts/outboxd")
        (parent / "Chart.yaml").write_text(yaml.safe_dump({
            "apiVersion": "v2", "name": "shop", "version": "1.0.0",
            "dependencies": [{"name": "outboxd", "alias": "relay", "version": "*", "condition": "relay.enabled"}]}))
        values = {"relay": {**NEEDED, "enabled": True, "config": {"database": {"pool_size": 8}}}, "global": {"imageRegistry": "mirror"}}
        objects = render(parent, values, release="shop")
        assert one(objects, "Deployment")["metadata"]["labels"]["app.kubernetes.io/name"] == "relay"
        assert "pool_size = 8\n" in one(objects, "ConfigMap")["data"]["outboxd.toml"], "a whole number became a fraction"
        assert not render(parent, {"relay": {"enabled": False}}, release="shop")


# What the notes say: (values, a part that must stand there).
NOTES = [
    ({}, "The schema is yours to bring"),
    ({}, "helm -n tasks test outboxd"),
    ({"migrations": {"mode": "job"}}, "get jobs -l app.kubernetes.io/instance=outboxd,app.kubernetes.io/component=migration"),
    ({"migrations": {"mode": "initContainer"}}, "by an init container of each relay"),
    ({"redis": {"url": "redis://a"}}, "WARNING: a URL was given as a value"),
    ({"replicaCount": 1}, "WARNING: there can be a single relay"),
    ({"service": {"type": "LoadBalancer"}}, "WARNING: service.type is LoadBalancer"),
    ({"secretsAsFiles": True, "extraEnvFrom": [{"secretRef": {"name": "a"}}]}, "stays an environment variable"),
]


def the_notes_say_what_to_do_and_what_to_mind():
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder) / "outboxd"
        shutil.copytree(CHART, chart)
        # `helm template` keeps the notes to itself, so a ConfigMap repeats them.
        (chart / "templates/notes.yaml").write_text(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata:\n  text: |\n"
            '    {{- include (print $.Template.BasePath "/NOTES.txt") . | nindent 4 }}\n')
        for values, expected in NOTES:
            base = {"database": NEEDED["database"]} if "redis" in values else NEEDED
            text = one(render(chart, {**base, **values}), "ConfigMap", "notes")["data"]["text"]
            assert expected in text, f"the notes for {values} do not say {expected!r}:\n{text}"
            if not values:
                assert "WARNING" not in text, text


CHECKS = [
    every_example_is_safe_and_selects_its_own,
    the_default_is_two_relays_with_a_budget_and_a_soft_spread,
    a_single_relay_has_no_budget,
    an_autoscaler_owns_the_number_of_relays,
    kubelet_reaches_the_probes,
    a_change_of_the_configuration_restarts_the_pods,
    secrets_come_as_variables_or_as_files,
    the_network_lets_sentinels_through_where_there_are_any,
    passwords_of_sentinels_come_out_of_secrets,
    migrations_run_where_the_mode_says,
    a_job_has_another_name_whenever_it_could_be_another_job,
    a_hook_needs_nothing_of_the_chart,
    keda_asks_for_the_oldest_age,
    the_test_asks_the_doctor,
    names_follow_the_release,
    a_registry_for_all_charts_is_stronger,
    a_chart_that_depends_on_it_may_switch_and_name_it,
    the_notes_say_what_to_do_and_what_to_mind,
]
