"""The data folder of a cluster on this machine: its layout, its permissions and its lock."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.local.errors import ClusterError
from services.shared.settings import WrongSettings

_LOCK_FILE = "lock"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Paths inside the data folder. `root` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "DataFolder":
        """The data folder at `path`, which may be relative. Nothing is created."""
        return cls(path.absolute())

    @property
    def logs(self) -> Path:
        """Folder with one log file for each process."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """File that the supervisor keeps locked while it runs. It also marks the folder as a cluster's."""
        return self.root / _LOCK_FILE

    @property
    def state(self) -> Path:
        """cluster.json (cluster_record.py)."""
        return self.root / "cluster.json"

    @property
    def environment(self) -> Path:
        """local.env (env_file.py)."""
        return self.root / "local.env"

    @property
    def prometheus_targets(self) -> Path:
        """prometheus-targets.json (prometheus_targets.py)."""
        return self.root / "prometheus-targets.json"

    @property
    def secrets(self) -> Path:
        """File with the keys and passwords of the cluster (secrets.py)."""
        return self.root / "secrets.json"

    @property
    def signing_key(self) -> Path:
        """PEM file of the private key that signs model versions."""
        return self.root / "signing.pem"

    @property
    def jobs(self) -> Path:
        """SQLite database with the training jobs."""
        return self.root / "jobs.sqlite3"

    @property
    def jobs_url(self) -> Path:
        """File with the URL of the database that holds the training jobs of the running cluster."""
        return self.root / "jobs.url"

    @property
    def gateway(self) -> Path:
        """Folder of the gateway: write-ahead log of the ledger, SQLite database."""
        return self.root / "gateway"

    @property
    def training(self) -> Path:
        """Folder of the trainer: runs and base models."""
        return self.root / "training"

    @property
    def config(self) -> Path:
        """The tidegate.yaml that the processes read, with the options of `tidegate up` applied."""
        return self.root / "tidegate.yaml"

    @property
    def redis(self) -> Path:
        """Working folder of Redis."""
        return self.root / "redis"

    @property
    def s3(self) -> Path:
        """Folder of the object store."""
        return self.root / "s3"

    def model_cache(self, worker: str) -> Path:
        """Folder for the model files of one worker."""
        return self.root / "models" / worker

    def log(self, process: str) -> Path:
        """Log file of a process."""
        return self.logs / f"{process}.log"

    def prepare(self) -> None:
        """Creates the folder; only its owner may read it.

        Raises:
            WrongSettings: The folder exists and holds files that do not belong to a cluster.
        """
        if self.root.is_dir() and any(self.root.iterdir()) and not self.lock.exists():
            raise WrongSettings(
                f"--data-dir = {self.root}: this folder holds files that do not belong to a cluster; "
                "choose an empty folder"
            )
        for folder in (self.root, self.logs, self.redis, self.s3):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.lock.touch(mode=0o600)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps the folder locked, so that only one supervisor runs in it.

        Raises:
            ClusterError: Another supervisor holds the lock.
        """
        with self.lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ClusterError(
                    f"a cluster is already running in {self.root}\n"
                    "see it with `tidegate status`, stop it with `tidegate down`, "
                    "or start another one beside it with --data-dir"
                ) from None
            yield


def write_private(file: Path, content: str) -> None:
    """Replaces the file atomically. Only its owner may read it."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(content)
    draft.replace(file)
