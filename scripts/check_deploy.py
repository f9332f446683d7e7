#!/usr/bin/env python3
# Checks that deploy/ agrees with itself, with docs/metrics.md and with the sources. Part of scripts/check_deploy.sh.
#
#   check_deploy.py                  one line per problem; exit code 1 if there is any
#   check_deploy.py expressions      every PromQL expression of the dashboard as a rule file, for promtool
#   check_deploy.py scripts FOLDER   every script of the workflows as a file of its own, for shellcheck
import json
import re
import sys
from pathlib import Path

from ruamel.yaml import YAML

TOP = Path(__file__).resolve().parent.parent
RULES = "deploy/prometheus/rules.yml"
TESTS = "deploy/prometheus/rules_test.yml"
DASHBOARD = "deploy/grafana/dashboard.json"
MANUAL = "docs/metrics.md"
ROWS = ["Health", "Delay", "Throughput", "Queues", "Failures and dead letters", "Loss and replay", "Dependencies", "Process"]
METRIC = re.compile(r"\b(?:outboxd|process)_[a-z0-9_]+\b")
# What a histogram is read by.
SUFFIXES = ("_bucket", "_sum", "_count")

problems = []


def problem(where, sentence):
    problems.append(f"{where}: {sentence}")


def text(path):
    return (TOP / path).read_text(encoding="utf-8")


def yaml(path):
    return YAML(typ="safe").load(text(path))


def listed():
    """The metrics of the manual, by name, with their type: what a test of the suite holds equal to the program."""
    rows = re.findall(r"^\| `((?:outboxd|process)_\w+)` \| (\w+) \|", text(MANUAL), re.M)
    return dict(rows)


def coded():
    """The metrics that the sources register; those of the process come from a library."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (TOP / "src/telemetry/metrics").glob("*.rs"))
    return set(re.findall(r'"(outboxd_[a-z0-9_]+)"', sources))


def known(name, metrics):
    if name in metrics:
        return metrics[name] != "histogram"
    stem = next((name[: -len(end)] for end in SUFFIXES if name.endswith(end)), None)
    return metrics.get(stem) == "histogram"


def names(expression):
    """The metrics of an expression; what stands in its strings is none."""
    return set(METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))


def check_names(where, expression, metrics):
    for name in sorted(names(expression)):
        if not known(name, metrics):
            problem(where, f"uses {name}, which {MANUAL} does not list (a histogram is used by its {', '.join(SUFFIXES)})")


def check_manual(metrics):
    ours = {name for name in metrics if name.startswith("outboxd_")}
    for name in sorted(coded() - ours):
        problem(MANUAL, f"does not list {name}, which src/telemetry/metrics registers")
    for name in sorted(ours - coded()):
        problem(MANUAL, f"lists {name}, which src/telemetry/metrics does not register")
    shown = text(DASHBOARD) + text(RULES)
    for name in sorted(ours):
        if not re.search(rf"\b{name}(?:{'|'.join(SUFFIXES)})?\b", shown):
            problem(DASHBOARD, f"shows {name} nowhere, and no alert uses it; add it to a panel")


def page_of(alert):
    return "docs/runbooks/" + re.sub(r"(?<!^)([A-Z])", r"-\1", alert.removeprefix("Outboxd")).lower() + ".md"


def check_rules(metrics):
    fires, silent = set(), set()
    for test in yaml(TESTS)["tests"]:
        for series in test["input_series"]:
            check_names(TESTS, series["series"], metrics)
        for case in test["alert_rule_test"]:
            (fires if case["exp_alerts"] else silent).add(case["alertname"])
    alerts = [rule for group in yaml(RULES)["groups"] for rule in group["rules"]]
    for rule in alerts:
        alert, notes = rule["alert"], rule.get("annotations", {})
        where = f"{RULES}, {alert}"
        check_names(where, rule["expr"], metrics)
        if not names(rule["expr"]):
            problem(where, "its expression names no metric of outboxd")
        if rule.get("labels", {}).get("severity") not in ("info", "warning", "critical"):
            problem(where, "needs the label severity: info, warning or critical")
        if not notes.get("summary"):
            problem(where, "has no summary")
        if "$value" not in notes.get("description", ""):
            problem(where, "has no description that tells the value ({{ $value }})")
        if not notes.get("runbook_url", "").endswith("/" + page_of(alert)):
            problem(where, f"its runbook_url must end with {page_of(alert)}")
        if not (TOP / page_of(alert)).is_file() or not text(page_of(alert)).startswith(f"# Runbook: {alert}\n"):
            problem(where, f"needs a page {page_of(alert)} that opens with '# Runbook: {alert}'")
        if alert not in fires:
            problem(TESTS, f"has no case in which {alert} fires")
        if alert not in silent:
            problem(TESTS, f"has no case in which {alert} is silent")
    for alert in sorted((fires | silent) - {rule["alert"] for rule in alerts}):
        problem(TESTS, f"tests {alert}, which {RULES} does not have")


def anchors(page):
    """The fragments that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_links():
    """Every page that git knows, and what it links to in here."""
    for path in sorted({*TOP.glob("*.md"), *(page for top in ("docs", "deploy", "helm") for page in (TOP / top).rglob("*.md"))}):
        where, page = str(path.relative_to(TOP)), path.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)]*))?\)", page):
            other = (path.parent / target) if target else path
            if not other.exists():
                problem(where, f"links to {target}, which does not exist")
            elif anchor and anchor not in anchors(other.read_text(encoding="utf-8")):
                problem(where, f"links to {target}#{anchor}, and {other.name} has no such heading")


def check_runbooks():
    sources = "".join(path.read_text(encoding="utf-8") for path in (TOP / "src").rglob("*.rs"))
    # A log event, or a key of the configuration: both are written section.name.
    events = set(re.findall(r'event = "([a-z_.]+)"', sources))
    keys = set(re.findall(r"^\| `(\w+)` \|", text("docs/configuration.md"), re.M))
    for path in sorted((TOP / "docs/runbooks").glob("*.md")):
        where = str(path.relative_to(TOP))
        page = path.read_text(encoding="utf-8")
        searched = re.findall(r"-g '(\w+)\\\.\(?([\w|]+)\)?'", page)
        named = re.findall(r"`((?:relay|postgres|redis|queue|segment|config|bell)\.[a-z_]+)`", page)
        for event in named + [f"{first}.{second}" for first, seconds in searched for second in seconds.split("|")]:
            if event not in events and event.split(".")[1] not in keys:
                problem(where, f"names {event}, which is no log event of src/ and no key of docs/configuration.md")


def panels():
    for panel in json.loads(text(DASHBOARD))["panels"]:
        yield panel
        yield from panel.get("panels", [])


def expressions():
    found = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    found += [note["expr"] for note in json.loads(text(DASHBOARD))["annotations"]["list"] if "expr" in note]
    for name, value in (("$__rate_interval", "5m"), ("$__range", "1h"), ("$job", ".*"), ("$instance", ".*"), ("$queue", ".*")):
        found = [expression.replace(name, value) for expression in found]
    return found


def check_dashboard(metrics):
    board = json.loads(text(DASHBOARD))
    if not board.get("uid") or "id" in board:
        problem(DASHBOARD, "needs a fixed uid and no id, so that it can be imported anywhere")
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    for name in ("datasource", "queue", "instance"):
        if name not in variables:
            problem(DASHBOARD, f"needs the variable ${name}")
    for name, variable in variables.items():
        check_names(f"{DASHBOARD}, variable {name}", str(variable.get("definition", "")), metrics)
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    if rows != ROWS:
        problem(DASHBOARD, f"its rows must be: {', '.join(ROWS)}")
    losses = [note for note in board["annotations"]["list"] if "outboxd_incidents_total" in note.get("expr", "")]
    if not losses:
        problem(DASHBOARD, "needs an annotation for losses (outboxd_incidents_total)")
    sources = [note for note in board["annotations"]["list"] if "builtIn" not in note]
    sources += [variable for variable in board["templating"]["list"] if variable["type"] == "query"]
    for holder in sources:
        if holder["datasource"]["uid"] != "${datasource}":
            problem(f"{DASHBOARD}, {holder['name']}", "must take its data source from ${datasource}")
    seen = set()
    for panel in panels():
        where = f"{DASHBOARD}, panel {panel.get('title', '?')!r}"
        if panel["id"] in seen:
            problem(where, f"shares the id {panel['id']} with another panel")
        seen.add(panel["id"])
        if panel["type"] == "row":
            continue
        if not panel.get("description"):
            problem(where, "has no description")
        if not panel["fieldConfig"]["defaults"].get("unit"):
            problem(where, "has no unit; 'none' and 'short' are units too")
        for holder in [panel, *panel["targets"]]:
            if holder["datasource"]["uid"] != "${datasource}":
                problem(where, "must take its data source from ${datasource}")
        for target in panel["targets"]:
            check_names(where, target["expr"], metrics)


def instruction(dockerfile, word):
    """The last such instruction of a Dockerfile: that of the image."""
    return re.findall(rf"^{word} (.+)$", dockerfile, re.M)[-1]


def check_agreement(metrics):
    dockerfile, compose, unit = text("deploy/Dockerfile"), yaml("deploy/compose.yaml"), text("deploy/systemd/outboxd.service")
    for path in sorted((TOP / "deploy").rglob("*")):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            check_names(str(path.relative_to(TOP)), re.sub(r"runbook_url.*|#.*|.*alertname.*", "", path.read_text(encoding="utf-8")), metrics)
    binary = json.loads(instruction(dockerfile, "ENTRYPOINT"))[0]
    port = re.search(r"^ENV OUTBOXD_HTTP__LISTEN=\S+:(\d+)$", dockerfile, re.M)[1]
    default = re.search(r'"127\.0\.0\.1:(\d+)"', text("docs/configuration.md"))[1]
    health = json.loads(re.search(r"^HEALTHCHECK .*CMD (\[.+\])$", dockerfile, re.M)[1])
    started = re.search(r"^ExecStart=(\S+) (.+)$", unit, re.M)
    relay = compose["services"]["relay"]
    if instruction(dockerfile, "USER") != "65532:65532":
        problem("deploy/Dockerfile", "must end as USER 65532:65532, by number")
    if instruction(dockerfile, "STOPSIGNAL") != "SIGTERM":
        problem("deploy/Dockerfile", "needs STOPSIGNAL SIGTERM, upon which the relay drains")
    if health != [binary, "health"]:
        problem("deploy/Dockerfile", f"its HEALTHCHECK must be [{binary!r}, 'health'] in exec form: there is no shell")
    if not re.search(rf" {re.escape(binary)}$", dockerfile, re.M):
        problem("deploy/Dockerfile", f"copies nothing to {binary}, its entry point")
    if instruction(dockerfile, "EXPOSE") != port or port != default:
        problem("deploy/Dockerfile", f"EXPOSE, OUTBOXD_HTTP__LISTEN and the default of http.listen must name one port ({default})")
    if relay["healthcheck"]["test"] != ["CMD", *health] or relay["command"] != json.loads(instruction(dockerfile, "CMD")):
        problem("deploy/compose.yaml", "the relay's command and health check must be those of deploy/Dockerfile")
    if relay["ports"] != [f"127.0.0.1:{port}:{port}"]:
        problem("deploy/compose.yaml", f"the relay must publish port {port} on 127.0.0.1: it has no authentication")
    if "user" in relay:
        problem("deploy/compose.yaml", "the relay must run as the image's own user")
    if f"relay:{port}" not in text("deploy/prometheus/prometheus.yml"):
        problem("deploy/prometheus/prometheus.yml", f"must scrape relay:{port}")
    if (started[1], [started[2]]) != (binary, relay["command"]):
        problem("deploy/systemd/outboxd.service", f"ExecStart must be {binary} run, as the image's entry point")
    for name in re.findall(r"^Environment=(\w+)=%d/(\w+)$", unit, re.M):
        if not re.search(rf"^LoadCredential={name[1]}:", unit, re.M):
            problem("deploy/systemd/outboxd.service", f"{name[0]} names the credential {name[1]}, which no LoadCredential= loads")
    for service, settings in compose["services"].items():
        for other in settings.get("depends_on", {}):
            if other not in compose["services"]:
                problem("deploy/compose.yaml", f"{service} depends on {other}, which is no service")
        mounts = [mount.split(":")[0] for mount in settings.get("volumes", [])]
        for source in mounts:
            if source.startswith(".") and not (TOP / "deploy" / source).exists():
                problem("deploy/compose.yaml", f"{service} mounts {source}, which does not exist")


def check_workflows():
    """What the schema and zizmor leave to taste."""
    for path in sorted((TOP / ".github/workflows").glob("*.yml")):
        where, workflow = str(path.relative_to(TOP)), yaml(path.relative_to(TOP))
        if "permissions" not in workflow:
            problem(where, "needs permissions at its top: what jobs get unless they say otherwise")
        for job in workflow["jobs"].values():
            for step in job.get("steps", []):
                if "actions/checkout@" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False:
                    problem(where, "actions/checkout needs persist-credentials: false")
        for action in re.findall(r"uses: ([^.\s].*)$", path.read_text(encoding="utf-8"), re.M):
            if not re.fullmatch(r"\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action):
                problem(where, f"uses {action}; pin it by its commit, and name the release beside it: OWNER/NAME@COMMIT # v1.2.3")


def write_scripts(folder):
    """What GitHub puts in place of its expressions is unknown; the form of a word stands for it."""
    for path in sorted((TOP / ".github/workflows").glob("*.yml")):
        for name, job in yaml(path.relative_to(TOP))["jobs"].items():
            for number, step in enumerate(job.get("steps", []), 1):
                if "run" in step:
                    script = re.sub(r"\$\{\{.*?\}\}", "expression", step["run"])
                    (Path(folder) / f"{path.stem}-{name}-{number}.sh").write_text("#!/usr/bin/env bash\nset -e\n" + script)


def check_context():
    """What the sources include must be in the build's context."""
    lines = [line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")]
    for path in (TOP / "src").rglob("*.rs"):
        for included in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', path.read_text(encoding="utf-8")):
            target = (path.parent / included).resolve().relative_to(TOP).as_posix()
            if not any(target == line or target.startswith(line + "/") for line in lines):
                problem(".dockerignore", f"keeps {target} away, which {path.relative_to(TOP)} includes; add a line !{target}")
    for line in lines:
        if not (TOP / line).exists():
            problem(".dockerignore", f"lets {line} in, which does not exist")


def check_files():
    """Every file says what it is, and is short enough to be read."""
    for path in sorted((TOP / "deploy").rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        where, lines = str(path.relative_to(TOP)), path.read_text(encoding="utf-8").splitlines()
        if path.suffix != ".json" and not lines[0].startswith(("#", "<!--")):
            problem(where, "does not open with a comment that says what it is")
        if path.suffix != ".json" and len(lines) > 400:
            problem(where, f"has {len(lines)} lines, 400 are allowed")


def main():
    if sys.argv[1:] == ["expressions"]:
        rules = [{"record": f"dashboard:expression:{n}", "expr": e} for n, e in enumerate(expressions())]
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout)
        return
    if sys.argv[1:2] == ["scripts"] and len(sys.argv) == 3:
        write_scripts(sys.argv[2])
        return
    if sys.argv[1:]:
        sys.exit("usage: check_deploy.py [expressions | scripts FOLDER]")
    metrics = listed()
    check_manual(metrics)
    check_rules(metrics)
    check_links()
    check_runbooks()
    check_dashboard(metrics)
    check_agreement(metrics)
    check_workflows()
    check_context()
    check_files()
    for line in problems:
        print(line, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
