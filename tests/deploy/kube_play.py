"""Pods of the chart under `podman kube play`, with what a cluster's controllers and kubelet do made up for.

podman 4.3 plays Pods, Deployments and claims, one at a time. So before it plays a pod, this is done to it:

- A pod of a StatefulSet or of a Job, and the pod of `helm test`, becomes a Pod of its own; claims of a StatefulSet
  become claims.
- Services have no addresses. So each pod has a fixed one, and `hostAliases` name those of the others as their Services
  are called. One replica each, then.
- Files of ConfigMaps and Secrets, with their `items` and `subPath`, are written to the disk, as a kubelet does, because
  podman ignores both fields. Secrets that variables name are given to podman in the form that it reads.
- `emptyDir` becomes an empty folder of the pod's own for its group, as a kubelet makes it, because podman shares those
  with equal names. With `medium: Memory` it is on the host's /dev/shm, without a limit.
- `$(NAME)` in a variable and the pod's address are put in.
- Ports and probes are left out: podman publishes the first on the host, and needs systemd for the second.

Commands, users, rights, memory limits, restarts and images stay as they are rendered. Services and network policies are
not played.
"""

import base64
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart import Object
from tests.deploy.containers import Containers

Secrets = Mapping[str, Mapping[str, str]]
"""Values by the name of the Secret and the key."""

NETWORK = "tidegate-kube-play"
FIRST_ADDRESS = 10
ONCE_LIMIT_S = 600.0


class KubePlay:
    """Plays objects of one release.

    Attributes:
        addresses: Of the pods, by the name of the object that makes them.
    """

    def __init__(self, containers: Containers, folder: Path, objects: tuple[Object, ...], secrets: Secrets) -> None:
        """`folder`: for the pods' files. `objects`: all that the chart renders."""
        self._containers, self._folder, self._secrets = containers, folder, secrets
        self._maps = {item["metadata"]["name"]: item["data"] for item in objects if item["kind"] == "ConfigMap"}
        self._services = [item for item in objects if item["kind"] == "Service"]
        containers.podman("network", "create", NETWORK)
        for name, values in secrets.items():
            data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
            _write(folder / "secret.json", json.dumps(data), 0o600, -1)
            containers.podman("secret", "create", name, str(folder / "secret.json"))
        (told,) = json.loads(containers.podman("network", "inspect", NETWORK))
        self._subnet = str(told["subnets"][0]["subnet"]).rpartition(".")[0]
        self.addresses: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self._memory = Path(tempfile.mkdtemp(prefix="tidegate-", dir="/dev/shm"))
        self._memory.chmod(0o755)

    def close(self) -> None:
        """Removes what is in memory. The pods are gone by then."""
        shutil.rmtree(self._memory)

    def give_addresses(self, *workloads: Object) -> None:
        """Before any of them is played, so that each can name the others."""
        for workload in workloads:
            address = f"{self._subnet}.{FIRST_ADDRESS + len(self.addresses)}"
            self.addresses[_name(workload)] = address
            labels = _template(workload)["metadata"]["labels"]
            for service in self._services:
                if service["spec"]["selector"].items() <= labels.items():
                    self._aliases[service["metadata"]["name"]] = address

    def start(self, workload: Object) -> str:
        """Plays a workload. Returns the name of its only container."""
        file = self._folder / f"{_name(workload)}.yaml"
        file.write_text(yaml.safe_dump_all(self._documents(workload)))
        network = [f"--network={NETWORK}", f"--ip={self.addresses[_name(workload)]}"]
        self._containers.podman("kube", "play", *network, str(file))
        return f"{_pod(workload)}-{_template(workload)['spec']['containers'][0]['name']}"

    def run(self, workload: Object) -> tuple[int, str]:
        """Plays a pod that ends. Returns its status and its log, and removes it."""
        container = self.start(workload)
        status = int(self._containers.podman("wait", container, limit_s=ONCE_LIMIT_S))
        told = self._containers.call("podman", "logs", container)
        self.remove(workload)
        return status, told.stdout + told.stderr

    def remove(self, workload: Object) -> None:
        """Kills the pod and removes it, with the folders of its own; its claims of a StatefulSet stay."""
        self._containers.podman("pod", "rm", "--force", "--time=0", _pod(workload))
        for folder in (self._folder, self._memory):
            shutil.rmtree(folder / _pod(workload), ignore_errors=True)

    def _documents(self, workload: Object) -> list[Object]:
        """The pod as podman can play it, after the claims that it mounts."""
        template = _template(workload)
        spec = dict(template["spec"])
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        (container,) = spec["containers"]
        played: list[Object] = []
        mounts: list[Object] = []
        sources = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            name, sub = mount["name"], mount.get("subPath", "")
            if name in claims:
                claim = f"{name}-{_name(workload)}-0"
                played.append(_claim(claim, spec["securityContext"]))
                source = {"persistentVolumeClaim": {"claimName": claim}}
            else:
                at = self._place(workload, sources[name]) / sub
                source = {"hostPath": {"path": str(at), "type": "File" if at.is_file() else "Directory"}}
            volume = f"{name}-{len(mounts)}"
            spec["volumes"] = [*(spec["volumes"] if mounts else []), {"name": volume, **source}]
            mounts.append({**{key: value for key, value in mount.items() if key != "subPath"}, "name": volume})
        kept = {key: value for key, value in container.items() if key != "ports" and not key.endswith("Probe")}
        variables = _variables(container.get("env", []), self.addresses[_name(workload)])
        spec["containers"] = [{**kept, "volumeMounts": mounts, "env": variables}]
        spec["hostAliases"] = [{"ip": ip, "hostnames": [name]} for name, ip in sorted(self._aliases.items())]
        if workload["kind"] == "Deployment":
            return [*played, {**workload, "spec": {**workload["spec"], "template": {**template, "spec": spec}}}]
        metadata = {"name": _name(workload), "labels": template["metadata"]["labels"]}
        return [*played, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]

    def _place(self, workload: Object, volume: Object) -> Path:
        """Writes the files of a volume. Those of Secrets are for the pod's group, as `fsGroup` says."""
        in_memory = volume.get("emptyDir", {}).get("medium") == "Memory"
        folder = Path(self._memory if in_memory else self._folder, _pod(workload), volume["name"])
        group = _template(workload)["spec"]["securityContext"]["fsGroup"]
        folder.mkdir(parents=True)
        if "emptyDir" in volume:
            os.chown(folder, -1, group)
            folder.chmod(0o2777)
            return folder
        source = volume.get("configMap") or volume["secret"]
        content = self._maps[source["name"]] if "configMap" in volume else self._secrets[source["secretName"]]
        for item in source.get("items") or [{"key": key, "path": key} for key in content]:
            file = folder / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, content[item["key"]], source.get("defaultMode", 0o644), group)
        return folder


def _name(workload: Object) -> str:
    return str(workload["metadata"]["name"])


def _pod(workload: Object) -> str:
    """What podman calls the pod."""
    return f"{_name(workload)}-pod-0" if workload["kind"] == "Deployment" else _name(workload)


def _template(workload: Object) -> Object:
    return workload if workload["kind"] == "Pod" else dict(workload["spec"]["template"])


def _write(file: Path, text: str, mode: int, group: int) -> None:
    file.write_text(text)
    os.chown(file, -1, group)
    file.chmod(mode)


def _claim(name: str, security: Object) -> Object:
    """A claim that belongs to the pod's user, as `fsGroup` says."""
    told = {"volume.podman.io/uid": str(security["runAsUser"]), "volume.podman.io/gid": str(security["fsGroup"])}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "annotations": told},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def _variables(variables: list[Any], address: str) -> list[Object]:
    found: dict[str, str] = {}
    result: list[Object] = []
    for variable in variables:
        source = variable.get("valueFrom", {})
        if source.get("fieldRef", {}).get("fieldPath") == "status.podIP":
            found[variable["name"]] = address
        elif "value" in variable:
            found[variable["name"]] = re.sub(
                r"\$\((\w+)\)", lambda match: found.get(match[1], match[0]), variable["value"]
            )
        else:
            result.append(variable)
            continue
        result.append({"name": variable["name"], "value": found[variable["name"]]})
    return result
