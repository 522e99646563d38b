"""The data folder of a cluster on this machine: who may see it, and where everything in it is."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import CommandFailed
from services.shared.settings import WrongSettings

_MARK = "lock"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """`root` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "DataFolder":
        return cls(path.absolute())

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.root / _MARK

    @property
    def state(self) -> Path:
        return self.root / "cluster.json"

    @property
    def environment(self) -> Path:
        return self.root / "local.env"

    @property
    def prometheus_targets(self) -> Path:
        return self.root / "prometheus-targets.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def signing_key(self) -> Path:
        return self.root / "signing.pem"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs.sqlite3"

    @property
    def jobs_url(self) -> Path:
        """Says which database has the training jobs of the cluster that runs."""
        return self.root / "jobs.url"

    @property
    def gateway(self) -> Path:
        return self.root / "gateway"

    @property
    def training(self) -> Path:
        return self.root / "training"

    @property
    def config(self) -> Path:
        return self.root / "tidegate.yaml"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def s3(self) -> Path:
        return self.root / "s3"

    def model_cache(self, worker: str) -> Path:
        return self.root / "models" / worker

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    def prepare(self) -> None:
        """Makes the folder for its owner's eyes only. Raises WrongSettings for one that holds other things."""
        if self.root.is_dir() and any(self.root.iterdir()) and not self.lock.exists():
            raise WrongSettings(f"--data-dir = {self.root}: holds files that are not a cluster's; name an empty folder")
        for folder in (self.root, self.logs, self.redis, self.s3):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.lock.touch(mode=0o600)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held by the one supervisor. Raises CommandFailed when there is one already."""
        with self.lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommandFailed(
                    f"a cluster is already running in {self.root}\n"
                    "see it with `tidegate status`, stop it with `tidegate down`, "
                    "or start another one beside it with --data-dir"
                ) from None
            yield


def write_private(file: Path, content: str) -> None:
    """Replaces the file in one step; only its owner may read it."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(content)
    draft.replace(file)
