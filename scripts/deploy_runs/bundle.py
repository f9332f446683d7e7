#!/usr/bin/env python3
"""Writes what crun runs: an OCI bundle, as an engine or a kubelet would make it.

    bundle.py image NAME ARGUMENTS-AS-JSON-OR-null VARIABLE=VALUE...     of the image, and an engine's command line
    bundle.py pod NAME                                                   of the image, and the Deployment that the chart renders

Reads /shared/image.json (buildah inspect) and /shared/pod.json (the chart's objects); writes /run/NAME/config.json.
"""

import json
import os
import sys
from pathlib import Path

IMAGE = json.loads(Path("/shared/image.json").read_text())["Docker"]["config"]
KINDS = ("bounding", "effective", "inheritable", "permitted", "ambient")


def bind(source, target):
    return {"source": source, "destination": target, "type": "bind", "options": ["rbind", "ro"]}


def write(name, user, arguments, variables, mounts):
    config = {
        "ociVersion": "1.0.2", "hostname": name,
        "process": {"user": user, "cwd": IMAGE.get("WorkingDir") or "/", "env": IMAGE["Env"] + variables,
                    "args": IMAGE["Entrypoint"] + arguments, "noNewPrivileges": True,
                    "capabilities": {kind: [] for kind in KINDS}},
        "root": {"path": "/shared/bundle/rootfs", "readonly": True},
        "mounts": [{"source": "proc", "destination": "/proc", "type": "proc"},
                   {"source": "tmpfs", "destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
                   bind("/etc/hosts", "/etc/hosts"), *mounts],
        # The network is the machine's, as in the pod of a sidecar.
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
                  "maskedPaths": ["/proc/kcore", "/proc/keys"], "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"]}}
    os.makedirs(f"/run/{name}", exist_ok=True)
    Path(f"/run/{name}/config.json").write_text(json.dumps(config))


def of_image(name, arguments, *variables):
    user, group = map(int, IMAGE["User"].split(":"))
    arguments = json.loads(arguments)
    write(name, {"uid": user, "gid": group}, IMAGE["Cmd"] if arguments is None else arguments, list(variables),
          [bind("/run/secrets", "/run/secrets")])


def of_pod(name):
    objects = {item["kind"]: item for item in json.loads(Path("/shared/pod.json").read_text())}
    spec = objects["Deployment"]["spec"]["template"]["spec"]
    container, security = spec["containers"][0], spec["securityContext"]
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] and own["capabilities"] == {"drop": ["ALL"]} and not own["allowPrivilegeEscalation"]
    # A volume is a folder that belongs to root and to the pod's fsGroup.
    mounts = []
    for mount in container["volumeMounts"]:
        volume = next(volume for volume in spec["volumes"] if volume["name"] == mount["name"])
        folder = Path(f"/run/volumes/{mount['name']}")
        folder.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            files = {key: (text, 0o644) for key, text in objects["ConfigMap"]["data"].items()}
        else:
            items = [item for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
            files = {item["path"]: (Path(f"/run/secrets/{item['key']}").read_text(), volume["projected"]["defaultMode"])
                     for item in items}
        for file, (text, mode) in files.items():
            (folder / file).write_text(text)
            os.chown(folder / file, 0, security["fsGroup"])
            (folder / file).chmod(mode)
        mounts.append(bind(str(folder), mount["mountPath"]))
    user = {"uid": security["runAsUser"], "gid": security["runAsGroup"], "additionalGids": [security["fsGroup"]]}
    write(name, user, container["args"], [f"{entry['name']}={entry['value']}" for entry in container["env"]], mounts)


if __name__ == "__main__":
    {"image": of_image, "pod": of_pod}[sys.argv[1]](*sys.argv[2:])
