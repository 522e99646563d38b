"""What a worker takes from the registry, and what it refuses."""

from pathlib import Path
from random import Random

import pytest
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.config import Pool
from services.shared.manifests import Manifest, make
from services.shared.objectstore import ObjectStore
from services.shared.registry import Registry
from services.shared.staging import RefusedModel, Stager
from services.worker.model import ModelSource
from services.worker.model_cache import ModelCache
from tests.integration.worker.store import FILES, publish
from tests.support.signing import KEY, TRUSTED
from tests.unit.worker.models import manifest_of


def reward_model() -> Manifest:
    plain = manifest_of(FILES).model_dump(exclude={"version", "signer", "signature"})
    return KEY.sign(make(**{**plain, "architecture": "LlamaForSequenceClassification"}))


async def test_a_reward_model_is_refused_since_no_pool_serves_it(tmp_path: Path) -> None:
    store = ObjectStore(MemoryStore())
    manifest = await publish(store, manifest=reward_model())
    stager = Stager(store, tmp_path, SystemClock(), TRUSTED)
    source = ModelSource(Registry(store), stager, ModelCache(tmp_path, spare=0), clock=SystemClock(), random=Random(1))
    pool = Pool(name="tide", model="tide")
    for fetching in (source.fetch(pool), source.fetch_version(pool, manifest.version, ())):
        with pytest.raises(RefusedModel, match=r"reward model \(LlamaForSequenceClassification\).* no pool"):
            await fetching
