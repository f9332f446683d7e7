"""Every pod of a manifest, and whether it passes the Pod Security level `restricted`."""

import copy

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pods(objects):
    """(what it is, metadata, spec) of each pod and each template of a pod."""
    for item in objects:
        name = f"{item['kind']} {item['metadata']['name']}"
        if item["kind"] == "Pod":
            yield name, item["metadata"], item["spec"]
        elif item["kind"] in ("Deployment", "Job"):
            yield name, item["spec"]["template"].get("metadata", {}), item["spec"]["template"]["spec"]


def containers(spec):
    return (spec.get("initContainers") or []) + spec["containers"]


def insecure(spec):
    """What the level `restricted` refuses, as sentences."""
    found = [f"{key} is true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    outer = spec.get("securityContext") or {}
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            found.append(f"the volume {volume['name']} is a {', '.join(kinds - VOLUMES)}")
    if outer.get("sysctls"):
        found.append("securityContext.sysctls is set")
    for container in containers(spec):
        inner = {**{key: outer[key] for key in ("runAsNonRoot", "runAsUser", "seccompProfile") if key in outer}}
        inner.update(container.get("securityContext") or {})
        found += [f"the container {container['name']} {why}" for why in insecure_container(container, inner)]
    return found


def insecure_container(container, context):
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may escalate its privileges (allowPrivilegeEscalation)"
    if context.get("privileged"):
        yield "is privileged"
    if context.get("runAsNonRoot") is not True:
        yield "may run as root (runAsNonRoot)"
    if context.get("runAsUser") == 0:
        yield "runs as root (runAsUser: 0)"
    if "ALL" not in (context.get("capabilities") or {}).get("drop", []):
        yield "keeps capabilities (capabilities.drop)"
    if set((context.get("capabilities") or {}).get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if (context.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if context.get("procMount", "Default") != "Default":
        yield "unmasks /proc"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield "takes a port of the node"


def merged(target, patch):
    """A strategic merge as Kubernetes does it where lists are merged by name; enough for pods."""
    if isinstance(target, dict) and isinstance(patch, dict):
        result = dict(target)
        for key, value in patch.items():
            result[key] = merged(target[key], value) if key in target else copy.deepcopy(value)
        return result
    if isinstance(target, list) and all(isinstance(item, dict) and "name" in item for item in target + patch):
        names = [item["name"] for item in target]
        result = [next((merged(item, p) for p in patch if p["name"] == item["name"]), item) for item in target]
        return [p for p in patch if p["name"] not in names] + result
    return copy.deepcopy(patch)
