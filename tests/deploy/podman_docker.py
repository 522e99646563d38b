"""A stand-in for `docker` in tests of scripts: gives their calls of `docker compose` to podman-compose.

It makes up for what podman 4.3 and podman-compose 1.6 do otherwise than Docker, and for nothing else:

- podman runs health checks only where there is systemd. So `up --wait`, and a service that another one needs to be
  healthy, are asked here until they are.
- podman-compose gives a container that it replaces ten seconds to stop, and not its `stop_grace_period`.
- `build` and `pull` fetch nothing, because no registry is there: the images of this version must have been built.
- A profile that only keeps single commands out of `up` is named, as Docker does by itself for `run`.
- podman-compose fails where a service may do without another one (`required: false`) and the other one's profile is not
  chosen. So it reads a copy of the file without such needs.

PODMAN_COMPOSE and PODMAN are the programs. All calls are written to STANDIN_CALLS.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.deploy.compose import COMPOSE, chosen, document, read_env

POLL_S = 0.5
HEALTHY_LIMIT_S = 400.0
STOP_S = "10s"
TOOLS = "tools"
ENDED_WELL = "on-failure exited 0"
"""Such as first-model, which has done its work, and has no health check."""

COPY = Path("podman-compose.yml")


class Up:
    """What `up` was asked for. services: all of the chosen profiles if none is named."""

    def __init__(self, arguments: list[str], services: dict[str, Any], profiles: str) -> None:
        self.wait, self.deps, self.limit_s = False, True, HEALTHY_LIMIT_S
        self.services: list[str] = []
        while arguments:
            match arguments.pop(0):
                case "-d" | "--no-build":
                    pass
                case "--wait":
                    self.wait = True
                case "--no-deps":
                    self.deps = False
                case "--wait-timeout":
                    self.limit_s = float(arguments.pop(0))
                case option if option.startswith("-"):
                    raise ValueError(f"docker compose up {option}")
                case service:
                    self.services.append(service)
        self.all = self.services or sorted(chosen(services, profiles))
        needs = (services[name].get("depends_on", {}).items() for name in self.all)
        conditions = {
            name: told["condition"] for need in needs for name, told in need if name in chosen(services, profiles)
        }
        assert set(conditions.values()) <= {"service_healthy"}, conditions
        self.first = sorted(conditions) if self.deps else []
        self.grace_s = max(int(services[name].get("stop_grace_period", STOP_S).removesuffix("s")) for name in self.all)

    def run(self) -> int:
        if self.first and (status := self._start(self.first) or wait_until_healthy(self.first, self.limit_s)):
            return status
        status = self._start(self.services)
        return status or (wait_until_healthy(self.all, self.limit_s) if self.wait else 0)

    def _start(self, services: Iterable[str]) -> int:
        options = ["-d", "--no-build", f"--timeout={self.grace_s}", *([] if self.deps else ["--no-deps"])]
        return podman_compose("up", *options, *services)


def podman_compose(*arguments: str) -> int:
    options = [f"--podman-path={os.environ['PODMAN']}", "--in-pod=false", f"--file={COPY}"]
    program = [os.environ["PODMAN_COMPOSE"], *options, *arguments]
    return subprocess.run(program, check=False).returncode


def write_copy(present: set[str]) -> None:
    """docker-compose.yml with those needs only whose service is present."""
    told = yaml.safe_load(COMPOSE.read_text())
    for service in told["services"].values():
        needs = service.get("depends_on", {}).items()
        service["depends_on"] = {name: need for name, need in needs if name in present or need.get("required", True)}
    COPY.write_text(yaml.safe_dump(told))


def wait_until_healthy(services: Iterable[str], limit_s: float) -> int:
    """0 when all are, 1 where one is not within the limit."""
    end = time.monotonic() + limit_s
    for service in services:
        while not is_healthy(service):
            if time.monotonic() > end:
                print(f"{service} is not healthy after {limit_s:g} s", file=sys.stderr)  # noqa: T201
                return 1
            time.sleep(POLL_S)
    return 0


def is_healthy(service: str) -> bool:
    name = f"tidegate_{service}_1"
    podman, state = os.environ["PODMAN"], "{{.HostConfig.RestartPolicy.Name}} {{.State.Status}} {{.State.ExitCode}}"
    told = subprocess.run([podman, "inspect", f"--format={state}", name], capture_output=True, text=True, check=False)
    if told.stdout.strip() == ENDED_WELL:
        return True
    asked = subprocess.run([podman, "healthcheck", "run", name], capture_output=True, check=False)
    return asked.returncode == 0


def has_images(services: dict[str, Any], names: Iterable[str]) -> int:
    wanted = {str(services[name]["image"]) for name in names}
    for image in wanted:
        if subprocess.run([os.environ["PODMAN"], "image", "exists", image], check=False).returncode:
            print(f"no image {image}", file=sys.stderr)  # noqa: T201
            return 1
    return 0


def main() -> int:
    docker, *arguments = sys.argv[1:]
    assert docker == "compose", docker
    with Path(os.environ["STANDIN_CALLS"]).open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    environment = read_env(Path(".env"))
    services, profiles = document(environment)["services"], environment["COMPOSE_PROFILES"]
    write_copy(chosen(services, profiles))
    match arguments:
        case ["up", *more]:
            return Up(more, services, profiles).run()
        case ["build" | "pull", *_]:
            return has_images(services, chosen(services, profiles))
        case ["run", *more]:
            return podman_compose("--profile", TOOLS, "run", *more)
        case ["down" | "exec" | "logs" | "ps", *_]:
            return podman_compose(*arguments)
    raise ValueError(f"docker compose {arguments}")


if __name__ == "__main__":
    sys.exit(main())
