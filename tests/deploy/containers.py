"""Images and containers without a registry and without a daemon, in a store of their own that leaves nothing behind."""

import ast
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STORAGE = """
[storage]
driver = "{driver}"
graphroot = "{folder}/store"
runroot = "{folder}/run"
"""
# What Debian's runc can do where there is neither systemd nor the right to raise limits.
ENGINE = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
# Only what is built here is ever used, and builds are not signed.
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
# As docker-compose.yml and the chart run our images. There is no network, so that nothing can be in the way.
RESTRICTED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none", "--no-healthcheck"]
REMOVALS = 20
PIP_NETWORK = {"index-url", "cert", "proxy", "trusted-host"}


class Containers:
    def __init__(self, folder: Path, tools: Mapping[str, str]) -> None:
        self._folder = folder
        settings = folder / "home/.config/containers"
        settings.mkdir(parents=True)
        (settings / "policy.json").write_text(json.dumps(POLICY))
        (settings / "containers.conf").write_text(ENGINE)
        (settings / "storage.conf").write_text(STORAGE.format(folder=folder, driver=_driver(folder)))
        self._environment = {
            **tools,
            "HOME": str(folder / "home"),
            "CONTAINERS_CONF": str(settings / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(settings / "storage.conf"),
            "TMPDIR": str(folder),
        }

    def call(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**self._environment, **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)

    def holds_images(self) -> bool:
        """Whether podman can unpack an image here at all: not in every sandbox."""
        archive = self._folder / "empty.tar"
        tarfile.open(archive, "w").close()
        return self.call("podman", "import", str(archive), "localhost/empty").returncode == 0

    def builds_on(self, base: str) -> bool:
        """Whether buildah can run a program of this image here."""
        container = self.call("buildah", "from", base).stdout.strip()
        return self.call("buildah", "run", "--isolation=chroot", container, "true").returncode == 0

    def podman(self, *arguments: str) -> str:
        run = self.call("podman", *arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout.strip()

    def run(self, image: str, *options: str) -> subprocess.CompletedProcess[str]:
        """To its end."""
        return self.call("podman", "run", "--rm", *RESTRICTED, *options, image)

    def start(self, image: str, *options: str) -> str:
        """The new container's id. It has a folder of its own to keep data in, as deployments give it."""
        data = Path(tempfile.mkdtemp(prefix="data-", dir=self._folder))
        data.chmod(0o777)
        return self.podman("run", "--detach", *RESTRICTED, f"--volume={data}:/var/lib/tidegate", *options, image)

    def configuration(self, image: str) -> dict[str, Any]:
        return dict(json.loads(self.podman("image", "inspect", image))[0])

    def pip_options(self) -> list[str]:
        """Options of a builder that let pip in the build reach the package index as pip does here."""
        told = pip_network()
        file = self._folder / "pip.conf"
        file.write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in told.items())]))
        mounted = {"/etc/pip.conf": str(file)} | ({told["cert"]: told["cert"]} if "cert" in told else {})
        return [f"--volume={source}:{target}:ro" for target, source in mounted.items()]

    def close(self) -> None:
        self.call("podman", "rm", "--all", "--force", "--time=0")
        for _ in range(REMOVALS):
            if self._removed():
                return
            time.sleep(1)  # what podman has left running to clean up after a container may mount its store once more
        raise AssertionError(f"{self._folder} cannot be removed")

    def _removed(self) -> bool:
        for mount in reversed(_mounts(self._folder)):
            subprocess.run(["umount", "--lazy", mount], check=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        return not self._folder.exists()


def pip_network() -> dict[str, str]:
    """What pip is told about its network here, by files and environment."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    pairs = (line.split("=", 1) for line in listed.stdout.splitlines())
    told = {name.rsplit(".", 1)[1]: str(ast.literal_eval(value)) for name, value in pairs}
    return {name: value for name, value in told.items() if name in PIP_NETWORK}


def _driver(folder: Path) -> str:
    """overlay where the kernel lays one over this folder; else vfs, which copies every layer."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / "probe" / name).mkdir(parents=True)
    at = folder / "probe"
    options = f"lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work"
    mounted = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, at / "merged"], capture_output=True)
    if mounted.returncode:
        return "vfs"
    subprocess.run(["umount", at / "merged"], check=True)
    return "overlay"


def _mounts(folder: Path) -> list[str]:
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]
