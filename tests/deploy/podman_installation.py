"""An installation with docker compose that runs in containers of podman, started by the scripts of operators."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.deploy import pod_images
from tests.deploy.compose import read_env
from tests.deploy.containers import Containers
from tests.deploy.installation import Installation
from tests.support.cluster import REPOSITORY

LOCK = Path("requirements/podman-compose.lock")
DOCKER = f"""#!/bin/sh
exec {sys.executable} {REPOSITORY}/tests/deploy/podman_docker.py "$@"
"""
# Docker adds no writable folders to a root that is read-only; podman does, unless it is told.
PODMAN = """#!/bin/sh
case $1 in
    create | run) command=$1 && shift && exec {podman} "$command" --read-only-tmpfs=false "$@" ;;
    *) exec {podman} "$@" ;;
esac
"""
SCRIPT_LIMIT_S = 1500.0


@dataclass(frozen=True, slots=True)
class PodmanInstallation:
    """root: where docker-compose.yml, .env and .secrets are."""

    root: Path
    containers: Containers
    compose: Path

    @classmethod
    def make(cls, folder: Path, containers: Containers, config: str) -> "PodmanInstallation":
        """In an empty folder, after `make env`. `config`: content of tidegate.yaml."""
        root = Installation.make(folder, {}).root
        (root / "docker-compose.yml").unlink()
        shutil.copy(REPOSITORY / "docker-compose.yml", root)
        (root / "docker").unlink()
        shutil.copytree(REPOSITORY / "docker", root / "docker")
        traefik = root / "docker/traefik/traefik.yml"
        # Traefik says only at this level why it has cut an answer off.
        traefik.write_text(traefik.read_text().replace("level: INFO", "level: DEBUG"))
        (root / "tide.yaml").write_text(config)
        podman = shutil.which("podman")
        for name, text in (("docker", DOCKER), ("podman", PODMAN.format(podman=podman))):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        return cls(root, containers, _podman_compose(folder))

    def change(self, settings: Mapping[str, str]) -> None:
        """Changes .env."""
        kept = {**read_env(self.root / ".env"), **settings}
        (self.root / ".env").write_text("".join(f"{name}={value}\n" for name, value in kept.items()))

    def use_images(self) -> None:
        """Those that pod_images.py builds, and no registry."""
        standins = {f"{name.upper()}_IMAGE": pod_images.standin(name) for name in pod_images.NAMED}
        self.change({"IMAGES": pod_images.PREFIX, "TAG": pod_images.TAG, "PULL_POLICY": "missing", **standins})

    def script(self, name: str, *arguments: str) -> str:
        return self._run("bash", str(self.root / "scripts" / name), *arguments)

    def docker_compose(self, *arguments: str) -> str:
        """As if called in the installation's folder."""
        return self._run("sh", "-c", 'cd "$0" && exec docker compose "$@"', str(self.root), *arguments)

    def names(self) -> dict[str, str]:
        """The names of running containers that stay, by service."""
        told = self.containers.podman("ps", "--format={{.Names}}").split()
        return {name.removeprefix("tidegate_").removesuffix("_1"): name for name in told}

    def volumes(self) -> set[str]:
        return set(self.containers.podman("volume", "ls", "--format={{.Name}}").split())

    def _run(self, *command: str) -> str:
        variables = {
            "PATH": f"{self.root / 'bin'}:{self.containers.path}",
            "PODMAN": str(self.root / "bin/podman"),
            "PODMAN_COMPOSE": str(self.compose),
            "STANDIN_CALLS": str(self.root / "calls"),
        }
        done = self.containers.call(*command, limit_s=SCRIPT_LIMIT_S, **variables)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
        return done.stdout


def _podman_compose(folder: Path) -> Path:
    """Installs podman-compose into an environment of its own."""
    environment = folder / "podman-compose"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install = [str(environment / "bin/pip"), "install", "--quiet", "--require-hashes", f"--requirement={LOCK}"]
    installed = subprocess.run(install, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    return environment / "bin/podman-compose"
