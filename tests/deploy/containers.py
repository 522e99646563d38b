"""Images and containers without a registry and without a daemon, in a store of their own that leaves nothing behind.

All that podman mounts is seen by its own processes only, in a namespace for mounts that ends with them: nobody who
clears up a folder later, a killed run's above all, can find it busy.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
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
[network]
network_config_dir = "{folder}/networks"
{backend}
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
"""
NETAVARK = 'network_backend = "netavark"'
# Where distributions have podman's own programs.
HELPERS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman")
NETWORKING = ("netavark", "aardvark-dns")
PODS = ("catatonit", "iptables")
# Only what is built here is ever used, and builds are not signed.
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
# As docker-compose.yml and the chart run our images. There is no network, so that nothing can be in the way.
RESTRICTED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none", "--no-healthcheck"]
REMOVALS = 20
LIMIT_S = 400.0
PIP_NETWORK = {"index-url", "extra-index-url", "find-links", "cert", "proxy", "trusted-host"}
PIP_FILES = {"extra-index-url", "find-links", "cert"}
FILE_URL = "file://"


class Containers:
    def __init__(self, tools: Mapping[str, str], kept: Path | None = None) -> None:
        """`kept`: a folder whose images stay, for the next run; else a new one, which is removed."""
        self._mounts = subprocess.Popen(["unshare", "--mount", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # Nothing may enter before `cat` runs: until then the namespace is the one that we are in ourselves.
        self._echo()
        self._kept = kept is not None
        self._folder = folder = kept or Path(tempfile.mkdtemp(prefix="tidegate-containers-"))
        settings = folder / "home/.config/containers"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "policy.json").write_text(json.dumps(POLICY))
        backend = NETAVARK if has_networking() else ""
        (settings / "containers.conf").write_text(ENGINE.format(folder=folder, backend=backend))
        (settings / "storage.conf").write_text(STORAGE.format(folder=folder, driver=self._driver()))
        self._environment = {
            **tools,
            "HOME": str(folder / "home"),
            "CONTAINERS_CONF": str(settings / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(settings / "storage.conf"),
            "TMPDIR": str(folder),
            # Health checks from systemd's timers fail where there is no systemd; they are run when they are asked for.
            "DISABLE_HC_SYSTEMD": "true",
        }

    def call(self, *command: str, limit_s: float = LIMIT_S, **variables: str) -> subprocess.CompletedProcess[str]:
        return self._enter(command, {**self._environment, **variables}, limit_s)

    @property
    def path(self) -> str:
        """PATH of what is called."""
        return self._environment["PATH"]

    def holds_images(self) -> bool:
        """Whether podman can unpack an image here at all: not in every sandbox."""
        archive = self._folder / "empty.tar"
        tarfile.open(archive, "w").close()
        return self.call("podman", "import", str(archive), "localhost/empty").returncode == 0

    def builds_on(self, base: str) -> bool:
        """Whether buildah can run a program of this image here."""
        container = self.call("buildah", "from", base).stdout.strip()
        return self.call("buildah", "run", "--isolation=chroot", container, "true").returncode == 0

    def podman(self, *arguments: str, limit_s: float = LIMIT_S) -> str:
        run = self.call("podman", *arguments, limit_s=limit_s)
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
        places = {place for name in told.keys() & PIP_FILES for place in told[name].split()}
        # An index's pages lead to files beside its folder.
        folders = {str(Path(place.removeprefix(FILE_URL)).parent) for place in places if place.startswith(FILE_URL)}
        mounted = {place: place for place in folders | places if Path(place).exists()}
        mounted["/etc/pip.conf"] = str(file)
        return [f"--volume={source}:{target}:ro" for target, source in mounted.items()]

    def clear(self) -> None:
        """Removes all but images."""
        self.call("podman", "pod", "rm", "--all", "--force", "--time=0")
        self.call("podman", "rm", "--all", "--force", "--time=0")
        self.call("buildah", "rm", "--all")
        self.call("podman", "volume", "prune", "--force")
        self.call("podman", "network", "prune", "--force")
        self.call("podman", "secret", "rm", "--all")

    def close(self) -> None:
        self.clear()
        self._mounts.communicate(timeout=10)
        if self._kept:
            return
        for _ in range(REMOVALS):
            shutil.rmtree(self._folder, ignore_errors=True)
            if not self._folder.exists():
                return
            time.sleep(1)  # what podman has left running to clean up after a container may still write
        raise AssertionError(f"{self._folder} cannot be removed")

    def _echo(self) -> None:
        assert self._mounts.stdin
        assert self._mounts.stdout
        self._mounts.stdin.write(b"\n")
        self._mounts.stdin.flush()
        assert self._mounts.stdout.readline() == b"\n", "no namespace for mounts can be made here"

    def _enter(
        self, command: Sequence[str], environment: Mapping[str, str], limit_s: float = LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        entered = ["nsenter", f"--mount=/proc/{self._mounts.pid}/ns/mnt", f"--wdns={Path.cwd()}", "--", *command]
        return subprocess.run(entered, env=environment, capture_output=True, text=True, timeout=limit_s)

    def _driver(self) -> str:
        """overlay where the kernel lays one over this folder; else vfs, which copies every layer."""
        at = self._folder / "probe"
        for name in ("lower", "upper", "work", "merged"):
            (at / name).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work"
        mounted = self._enter(["mount", "-t", "overlay", "overlay", "-o", options, f"{at}/merged"], os.environ)
        if mounted.returncode:
            return "vfs"
        self._enter(["umount", f"{at}/merged"], os.environ)
        return "overlay"


def has_networking() -> bool:
    """Whether podman can make networks in which containers find each other by name."""
    return all(any(Path(folder, program).exists() for folder in HELPERS) for program in NETWORKING)


def missing_for_pods() -> list[str]:
    """Programs that podman needs for pods and networks, and this machine lacks."""
    return [name for name in PODS if not shutil.which(name)] + ([] if has_networking() else list(NETWORKING))


def pip_network() -> dict[str, str]:
    """What pip is told about its network here, by files and environment."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    pairs = (line.split("=", 1) for line in listed.stdout.splitlines())
    told = {name.rsplit(".", 1)[1]: str(ast.literal_eval(value)) for name, value in pairs}
    return {name: value for name, value in told.items() if name in PIP_NETWORK}
