"""docker-compose.yml: every variable is known, every process gets what it must be told."""

import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.shared import config
from services.shared.signing import SigningKey, public_key
from tests.deploy import images
from tests.deploy.compose import document, read_env, used_variables
from tests.deploy.processes import check

OURS = ["gateway-1", "gateway-2", "router-1", "router-2", "worker-cpu", "worker-gpu", "trainer-cpu", "trainer-gpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `make env` has been called."""
    folder = tmp_path_factory.mktemp("env")
    subprocess.run(["scripts/env.sh", str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    return read_env(folder / ".env")


@pytest.fixture(scope="module")
def services(environment: dict[str, str]) -> dict[str, Any]:
    return dict(document(environment)["services"])


def test_the_example_names_every_variable_with_its_default() -> None:
    example = read_env(Path(".env.example"))
    used = used_variables()
    assert set(example) == set(used)
    for name, default in used.items():
        assert example[name] == (default or ""), name


def test_secrets_are_made_fresh_and_kept(folder: Path, environment: dict[str, str]) -> None:
    secret = [name for name, default in used_variables().items() if default is None]
    assert all(len(environment[name]) >= 44 for name in secret)
    assert len({environment[name] for name in secret}) == len(secret)
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / ".secrets").stat().st_mode) == 0o700
    subprocess.run(["scripts/env.sh", str(folder)], check=True, capture_output=True)
    assert read_env(folder / ".env") == environment


def test_workers_trust_the_key_that_signs(folder: Path, environment: dict[str, str]) -> None:
    key = SigningKey.parse((folder / ".secrets/signing-key.pem").read_bytes())
    assert public_key(environment["TRUSTED_KEYS"]) == key.public


@pytest.mark.parametrize("name", OURS)
def test_every_process_would_start(services: dict[str, Any], name: str) -> None:
    service = services[name]
    image = service["build"]["target"]
    told = {**images.variables(image), **service["environment"]}
    check(images.command(image), told)
    mounted = {volume.split(":")[1] for volume in service.get("volumes", [])}
    assert "TIDEGATE_CONFIG" not in told or told["TIDEGATE_CONFIG"] in mounted
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_the_pool_is_one_of_the_config(environment: dict[str, str]) -> None:
    config.load(Path(environment["CONFIG_FILE"])).pool(environment["POOL"])


def test_each_profile_has_one_worker_and_one_trainer(services: dict[str, Any]) -> None:
    for profile, device in (("cpu", "cpu"), ("gpu", "cuda")):
        chosen = [s for s in services.values() if profile in s.get("profiles", [])]
        targets = [s["build"]["target"] for s in chosen if "command" not in s]
        assert sorted(targets) == [f"trainer-{device}", f"worker-{device}"]


def test_what_is_mounted_exists_and_what_is_named_is_a_service(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or Path(source).exists(), source
        for other in service.get("depends_on", {}):
            assert other in services


def test_prometheus_asks_where_metrics_need_no_key(services: dict[str, Any]) -> None:
    asked = []
    for job in yaml.safe_load(Path("docker/prometheus.yml").read_text())["scrape_configs"]:
        asked += [target.split(":") for static in job.get("static_configs", []) for target in static["targets"]]
        asked += [(name, str(dns["port"])) for dns in job.get("dns_sd_configs", []) for name in dns["names"]]
    for host, port in asked:
        told = images.variables(services[host]["build"]["target"])
        name = "TIDEGATE_METRICS_LISTEN" if host.startswith("gateway") else "TIDEGATE_HTTP_LISTEN"
        assert told[name].split(":")[1] == port, host


def test_traefik_and_prometheus_know_the_services_by_name(services: dict[str, Any]) -> None:
    routes = yaml.safe_load(Path("docker/traefik/routes/gateways.yml").read_text())["http"]["services"]
    urls = [server["url"] for service in routes.values() for server in service["loadBalancer"]["servers"]]
    jobs = yaml.safe_load(Path("docker/prometheus.yml").read_text())["scrape_configs"]
    named = [target for job in jobs for static in job.get("static_configs", []) for target in static["targets"]]
    named += [name for job in jobs for dns in job.get("dns_sd_configs", []) for name in dns["names"]]
    hosts = {url.split("//")[1].split(":")[0] for url in urls} | {name.split(":")[0] for name in named}
    assert hosts == set(OURS)
