"""A kubelet without Kubernetes: pods that the chart renders run as processes, each with an address of its own.

Names of Services and of LeaderWorkerSets become addresses, and paths of volumes become folders. Images, networks,
policies and resources are not there.
"""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.deploy import images
from tests.deploy.chart import RELEASE

REPOSITORY = Path(__file__).parents[2]
MOST_STARTS = 5

Secrets = Mapping[str, Mapping[str, str]]
"""Values by the name of the Secret and the key."""


@dataclass
class Pod:
    """A pod with one container.

    Attributes:
        name: What Kubernetes would call it.
        address: On loopback.
        container: As rendered.
        variables: What is set before the container's own variables.
    """

    name: str
    address: str
    container: dict[str, Any]
    variables: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0


class Kubelet:
    """Starts pods, and starts them again when they end."""

    def __init__(self, folder: Path, config: str, secrets: Secrets, random: Random) -> None:
        """`folder`: for their volumes and logs; `config`: the content of tidegate.yaml."""
        self._folder, self._secrets = folder, secrets
        self._network = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self._services: dict[str, str] = {}
        self._config = folder / "tidegate.yaml"
        self._config.write_text(config)
        self.pods: dict[str, Pod] = {}

    def add(self, name: str, container: dict[str, Any], **variables: str) -> Pod:
        """Adds a pod, which `tend` starts. The Service of its component leads to it."""
        pod = Pod(name, f"{self._network}.{len(self.pods) + 1}", container, variables)
        self.pods[name] = pod
        self._services.setdefault(f"{RELEASE}-tidegate-{container['name']}", pod.address)
        return pod

    def are_ready(self) -> bool:
        """Starts what has ended, and asks every pod."""
        self.tend()
        return all(self._is_ready(pod) for pod in self.pods.values())

    def tend(self) -> None:
        for pod in self.pods.values():
            if pod.process is None or pod.process.poll() is not None:
                self._start(pod)

    def kill(self, name: str) -> None:
        """`kill -9`, as when a node runs out of memory."""
        process = self.pods[name].process
        assert process
        process.kill()
        process.wait()

    def run(self, container: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Runs a pod to its end."""
        pod = Pod("once", f"{self._network}.200", container, {})
        return subprocess.run(
            self._command(container), env=self._environment(pod), capture_output=True, text=True, timeout=300
        )

    def logs(self) -> str:
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in self._folder.glob("*.log"))

    def stop(self) -> None:
        running = [pod.process for pod in self.pods.values() if pod.process]
        for process in running:
            process.kill()
        for process in running:
            process.wait()

    def _start(self, pod: Pod) -> None:
        pod.starts += 1
        assert pod.starts <= MOST_STARTS, f"{pod.name} ends again and again\n{self.logs()}"
        with (self._folder / f"{pod.name}.log").open("ab") as log:
            pod.process = subprocess.Popen(self._command(pod.container), env=self._environment(pod), stderr=log)

    def _command(self, container: dict[str, Any]) -> list[str]:
        _, *arguments = container.get("command") or ["python3", "-m", images.command(_image(container))]
        return [sys.executable, *arguments]

    def _environment(self, pod: Pod) -> dict[str, str]:
        fields = {"status.podIP": pod.address, "metadata.name": pod.name}
        found = {**images.variables(_image(pod.container)), **pod.variables}
        for variable in pod.container["env"]:
            value = variable.get("value") or self._from(variable["valueFrom"], fields)
            found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], value)
        python = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'proto/gen'}"}
        return python | {name: self._placed(value, pod) for name, value in found.items()}

    def _from(self, source: dict[str, Any], fields: Mapping[str, str]) -> str:
        if "fieldRef" in source:
            return fields[source["fieldRef"]["fieldPath"]]
        reference = source["secretKeyRef"]
        return self._secrets[reference["name"]].get(reference["key"], "")

    def _placed(self, value: str, pod: Pod) -> str:
        """What a value means on this machine."""
        value = value.replace("0.0.0.0:", f"{pod.address}:")
        for service, address in self._services.items():
            value = value.replace(f"{service}:", f"{address}:")
        value = value.replace("/etc/tidegate/tidegate.yaml", str(self._config))
        return value.replace("/var/lib/tidegate", str(self._folder / pod.name))

    def _is_ready(self, pod: Pod) -> bool:
        try:
            with urllib.request.urlopen(f"http://{pod.address}:8080/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _image(container: dict[str, Any]) -> str:
    return str(container["image"].rpartition("/")[2].split(":")[0])


@contextmanager
def kubelet(folder: Path, config: str, secrets: Secrets, random: Random) -> Iterator[Kubelet]:
    """A kubelet that kills all its pods at the end."""
    started = Kubelet(folder, config, secrets, random)
    try:
        yield started
    finally:
        started.stop()
