"""docker-compose.yml: every variable is known, every process gets what it must be told, and no more."""

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.shared import config
from services.shared.signing import SigningKey, public_key
from tests.deploy import images
from tests.deploy.compose import SECRETS, chosen, document, read_env, told, used_variables
from tests.deploy.processes import check

OURS = ["gateway-1", "gateway-2", "router-1", "router-2", "worker-cpu", "worker-gpu", "trainer-cpu", "trainer-gpu"]
STORES = ["seaweedfs", "minio"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `make env` has been called."""
    folder = tmp_path_factory.mktemp("env")
    make_env(folder)
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    return read_env(folder / ".env")


@pytest.fixture(scope="module")
def compose(environment: dict[str, str]) -> dict[str, Any]:
    return document(environment)


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return dict(compose["services"])


def make_env(folder: Path) -> None:
    subprocess.run(["scripts/env.sh", str(folder)], check=True, capture_output=True)


def test_the_example_names_every_variable_with_its_default() -> None:
    example = read_env(Path(".env.example"))
    used = used_variables()
    # The scripts read it, and give it to docker compose.
    assert set(example) == set(used) | {"BACKUP_FOLDER"}
    for name, default in used.items():
        assert example[name] == default or (default is None and example[name]), name


def test_without_env_docker_compose_says_what_to_do() -> None:
    required = [name for name, default in used_variables().items() if default is None]
    assert required == ["COMPOSE_PROFILES"]
    assert "run `make env`" in Path("docker-compose.yml").read_text().split("${COMPOSE_PROFILES:?")[1]


def test_secrets_are_made_fresh_and_kept(folder: Path, compose: dict[str, Any], tmp_path: Path) -> None:
    files = [folder / secret["file"] for secret in compose["secrets"].values()]
    content = {file: file.read_text() for file in files}
    assert len(set(content.values())) == len(files)
    assert all(len(text) >= 44 for text in content.values())
    assert set(files) == set((folder / ".secrets").iterdir())
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / ".secrets").stat().st_mode) == 0o700
    make_env(folder)
    assert {file: file.read_text() for file in files} == content
    make_env(tmp_path)
    assert not {(tmp_path / ".secrets" / file.name).read_text() for file in files} & set(content.values())


def test_make_env_adds_what_a_new_version_needs(tmp_path: Path) -> None:
    make_env(tmp_path)
    (tmp_path / ".env").write_text("REST_PORT=9999\n")
    (tmp_path / ".secrets/s3-backup").unlink()
    make_env(tmp_path)
    assert read_env(tmp_path / ".env") == read_env(Path(".env.example")) | {"REST_PORT": "9999"}
    assert (tmp_path / ".secrets/s3-backup").read_text()


def test_workers_trust_the_key_that_signs(folder: Path) -> None:
    key = SigningKey.parse((folder / ".secrets/signing-key.pem").read_bytes())
    assert public_key((folder / ".secrets/trusted-keys").read_text()) == key.public


@pytest.mark.parametrize("name", OURS)
def test_every_process_would_start(compose: dict[str, Any], folder: Path, name: str) -> None:
    service = compose["services"][name]
    image = service["build"]["target"]
    environment = {**images.variables(image), **told(service, compose, folder)}
    check(images.command(image), environment)
    mounted = {volume.split(":")[1] for volume in service.get("volumes", [])}
    assert "TIDEGATE_CONFIG" not in environment or environment["TIDEGATE_CONFIG"] in mounted


def test_a_service_gets_the_secrets_that_it_reads_and_no_others(compose: dict[str, Any]) -> None:
    scripts = {
        "seaweedfs": "docker/s3/seaweedfs.sh",
        "minio-accounts": "docker/s3/minio.sh",
        "backup-database": "docker/database.sh",
    }
    for name, service in compose["services"].items():
        script = Path(scripts[name]).read_text() if name in scripts else ""
        text = script + str([service.get(part) for part in ("environment", "command", "healthcheck")])
        read = set(re.findall(rf"(?:{SECRETS}|\$secrets/)([\w-]*\w)(?![\w-])", text))
        if "s3-$account" in script:
            (accounts,) = re.findall(r'(?:accounts="|for account in )(gateway[a-z ]+)', script)
            read |= {f"s3-{account}" for account in accounts.split()}
        assert read == set(service.get("secrets", [])), name


def test_no_secret_is_in_the_environment(compose: dict[str, Any], folder: Path) -> None:
    secrets = {file.read_text() for file in (folder / ".secrets").iterdir()}
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            assert value not in secrets, (name, variable)
            is_secret = re.search(r"(PASSWORD|SECRET|SECRET_KEY|API_KEY|ADMIN_KEY|_URL)$", variable)
            assert not is_secret or variable == "TIDEGATE_S3_ACCESS_KEY", (name, variable)
    assert not any(len(value) >= 44 and "@sha256:" not in value for value in read_env(folder / ".env").values())


def test_nobody_else_can_bring_our_images(services: dict[str, Any]) -> None:
    built = {name for name, service in services.items() if "build" in service}
    assert built >= set(OURS)
    for name in built:
        assert services[name]["image"].startswith("localhost/tidegate/"), name
        assert services[name]["pull_policy"] == "build", name


def test_images_of_others_have_a_version(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" not in service:
            assert re.search(r":[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?$", service["image"]), name


def test_every_container_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["logging"]["options"]["max-size"], name
        assert "privileged" not in service, name
        assert "cap_add" not in service, name
        assert not any("docker.sock" in volume for volume in service.get("volumes", [])), name


def test_podman_knows_the_options_of_every_folder_in_memory(services: dict[str, Any]) -> None:
    known = {"mode", "size", "rw", "ro", "nosuid", "nodev", "noexec"}
    for name, service in services.items():
        for folder in service["tmpfs"]:
            options = folder.partition(":")[2].split(",")
            assert {option.partition("=")[0] for option in options if option} <= known, name


def test_every_service_that_stays_has_a_health_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        stays = service["restart"] == "unless-stopped"
        in_image = "HEALTHCHECK" in images.stages()[service["build"]["target"]] if "build" in service else False
        off = service.get("healthcheck", {}).get("disable", False)
        assert (in_image or "test" in service.get("healthcheck", {})) and not off if stays else off, name


def test_only_traefik_and_grafana_are_published_on_loopback(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"traefik", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_a_store_is_reached_only_by_those_that_use_it(compose: dict[str, Any]) -> None:
    services, networks = compose["services"], compose["networks"]
    assert {name for name, network in networks.items() if not network} == {"edge"}
    on = {name: set(service["networks"]) for name, service in services.items()}
    assert {name for name, joined in on.items() if "queue" in joined} == {"redis", "router-1", "router-2"}
    for store in ("redis", "postgres", *STORES):
        assert len(on[store]) == 1, store
    assert {name for name, joined in on.items() if "database" in joined} == {
        "postgres",
        *(
            name
            for name, service in services.items()
            if {"database-url", "postgres-password"} & set(service.get("secrets", []))
        ),
    }


def test_the_pool_is_one_of_the_config(environment: dict[str, str]) -> None:
    config.load(Path(environment["CONFIG_FILE"])).pool(environment["POOL"])


@pytest.mark.parametrize(("device", "image"), [("cpu", "cpu"), ("gpu", "cuda")])
@pytest.mark.parametrize("store", STORES)
def test_a_device_and_a_store_make_a_whole_cluster(
    services: dict[str, Any], device: str, image: str, store: str
) -> None:
    names = chosen(services, f"{device},{store}")
    targets = [services[name]["build"]["target"] for name in names if "build" in services[name]]
    assert sorted(t for t in targets if t.startswith("worker")) == [f"worker-{image}"]
    assert f"trainer-{image}" in targets
    stores = [name for name in names if name in STORES]
    assert stores == [store]
    assert services[store]["networks"]["objects"]["aliases"] == ["object-store"]


def test_what_make_env_writes_serves_on_the_cpu(services: dict[str, Any], environment: dict[str, str]) -> None:
    names = chosen(services, environment["COMPOSE_PROFILES"])
    assert {"gateway-1", "gateway-2", "worker-cpu", "trainer-cpu", "first-model", "seaweedfs", "postgres"} <= names
    assert not {name for name in names if "gpu" in name}


def test_gpus_are_a_setting(environment: dict[str, str]) -> None:
    services = document(environment | {"WORKER_GPUS": "4", "TRAINER_GPU": "4"})["services"]

    def device(name: str) -> dict[str, Any]:
        return dict(services[name]["deploy"]["resources"]["reservations"]["devices"][0])

    assert device("worker-gpu")["count"] == "4"
    assert device("trainer-gpu")["device_ids"] == ["4"]


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
        variables = images.variables(services[host]["build"]["target"])
        name = "TIDEGATE_METRICS_LISTEN" if host.startswith("gateway") else "TIDEGATE_HTTP_LISTEN"
        assert variables[name].split(":")[1] == port, host


def test_traefik_and_prometheus_know_the_services_by_name(services: dict[str, Any]) -> None:
    routes = yaml.safe_load(Path("docker/traefik/routes/gateways.yml").read_text())["http"]["services"]
    balanced = [service["loadBalancer"] for service in routes.values() if "loadBalancer" in service]
    urls = [server["url"] for balancer in balanced for server in balancer["servers"]]
    jobs = yaml.safe_load(Path("docker/prometheus.yml").read_text())["scrape_configs"]
    named = [target for job in jobs for static in job.get("static_configs", []) for target in static["targets"]]
    named += [name for job in jobs for dns in job.get("dns_sd_configs", []) for name in dns["names"]]
    hosts = {url.split("//")[1].split(":")[0] for url in urls} | {name.split(":")[0] for name in named}
    assert hosts == set(OURS)
