#!/usr/bin/env python3
"""Plays `docker compose` for deploy/compose.yaml without images: each service is a unit of systemd, with the command,
environment, health check, order and restrictions that the file gives it. Knows what deploy/demo.sh and the README ask:

    docker compose [-f FILE] [--profile NAME] up [-d] [--build] [--wait] [--no-deps] [SERVICE]
                   | stop SERVICE | kill SERVICE | exec -T SERVICE COMMAND.. | down [--volumes]

Runs as root in the machine that machine.sh boots. /shared/compose.json is the file, /shared/places.json says where
programs are.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SERVICES = json.loads(Path("/shared/compose.json").read_text())["services"]
PLACES = json.loads(Path("/shared/places.json").read_text())
DEPLOY = Path("/repository/deploy")
# What the images bring: who runs it, where, and what stands before the command.
IMAGES = {
    "postgres": {"user": "65501", "before": ["/shared/postgres"]},
    "redis": {"user": "65502"},
    "outboxd": {"user": "65532", "before": ["/usr/bin/outboxd"],
                "environment": {"OUTBOXD_HTTP__LISTEN": "0.0.0.0:14187"}},
    "outboxd-demo": {"user": "65532", "folder": str(DEPLOY / "demo")},
    "prometheus": {"user": "65503", "before": ["/usr/bin/prometheus"]},
}


def image(service):
    return IMAGES.get(SERVICES[service]["image"].split(":")[0].split("/")[-1])


def placed(command):
    return [PLACES.get(command[0], command[0]), *command[1:]]


def environment(service):
    values = {**image(service).get("environment", {}), **SERVICES[service].get("environment", {})}
    # ${NAME:-default}: nobody sets such a name here.
    return {key: str(value).partition(":-")[2].rstrip("}") if str(value).startswith("${") else str(value)
            for key, value in values.items()}


def execute(service, command):
    """`exec`: in the environment of a service, as its user, wherever it is."""
    variables = [f"{key}={value}" for key, value in environment(service).items()]
    who = ["setpriv", f"--reuid={image(service)['user']}", "--regid=65534", "--clear-groups", "--no-new-privs"]
    line = [*who, "env", "-i", f"PATH={os.environ['PATH']}", *variables, *placed(command)]
    return subprocess.run(line, cwd=image(service).get("folder", "/")).returncode


def unit(service):
    return f"compose-{service}.service"


def active(service):
    return subprocess.run(["systemctl", "--quiet", "is-active", unit(service)]).returncode == 0


def start(service):
    if active(service):
        return
    settings, brings = SERVICES[service], image(service)
    for mount in settings.get("volumes", []):
        source, target = mount.split(":")[:2]
        if source.startswith("."):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            Path(target).write_text((DEPLOY / source).read_text())
        else:
            Path(target).mkdir(parents=True, exist_ok=True)
            os.chown(target, int(brings["user"]), 65534)
    properties = {"User": brings["user"], "Group": "65534", "WorkingDirectory": brings.get("folder", "/")}
    if settings.get("read_only"):
        properties |= {"ProtectSystem": "strict", "PrivateTmp": "yes"}
    if settings.get("cap_drop") == ["ALL"]:
        properties["CapabilityBoundingSet"] = ""
    if "no-new-privileges:true" in settings.get("security_opt", []):
        properties["NoNewPrivileges"] = "yes"
    if settings.get("restart") == "unless-stopped":
        properties |= {"Restart": "on-failure", "RestartSec": "1"}
    conditions = {other.get("depends_on", {}).get(service, {}).get("condition") for other in SERVICES.values()}
    waits = "--wait" if "service_completed_successfully" in conditions else "--no-block"
    line = ["systemd-run", "--quiet", "--collect", f"--unit={unit(service)}", waits]
    line += [f"--setenv=PATH={os.environ['PATH']}"]
    line += [f"--property={key}={value}" for key, value in properties.items()]
    line += [f"--setenv={key}={value}" for key, value in environment(service).items()]
    subprocess.run([*line, *placed(brings.get("before", []) + settings.get("command", []))], check=True)


def healthy(service):
    check = SERVICES[service].get("healthcheck", {})
    if check.get("disable") or "test" not in check:
        return
    deadline = time.monotonic() + 120
    # The file's own question, more often than the file asks it.
    while not active(service) or subprocess.run(
            ["docker", "compose", "exec", "-T", service, *check["test"][1:]], capture_output=True).returncode:
        if time.monotonic() > deadline:
            sys.exit(f"compose: {service} does not become healthy; see journalctl -u {unit(service)}")
        time.sleep(0.2)  # between two questions


def up(service, done):
    if service in done:
        return
    for other, how in SERVICES[service].get("depends_on", {}).items():
        up(other, done)
        if how["condition"] == "service_healthy":
            healthy(other)
    start(service)
    done.add(service)


def main(words):
    profiles = [words[i + 1] for i, word in enumerate(words) if word == "--profile"]
    while words[0] in ("-f", "--profile"):
        words = words[2:]
    verb, rest = words[0], words[1:]
    named = [word for word in rest if not word.startswith("-")]
    if verb == "exec":
        return execute(rest[1], rest[2:])
    if verb in ("stop", "kill"):
        # What was stopped or killed by hand is not started again, with Docker as with systemd.
        if verb == "kill":
            subprocess.run(["systemctl", "kill", "--signal=KILL", unit(named[0])], check=True)
        return subprocess.run(["systemctl", "stop", unit(named[0])]).returncode
    if verb == "down":
        # Those that others depend on come last.
        running = [unit(service) for service in reversed(SERVICES) if image(service) and active(service)]
        return max(subprocess.run(["systemctl", "stop", name]).returncode for name in running)
    if verb != "up":
        sys.exit(f"compose: does not know {verb}")
    on = [name for name, settings in SERVICES.items() if set(settings.get("profiles", [])) <= set(profiles)]
    wanted = [service for service in named or on if image(service)]
    done = set()
    for service in wanted:
        start(service) if "--no-deps" in rest else up(service, done)
    for service in wanted if "--wait" in rest else ():
        healthy(service)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
