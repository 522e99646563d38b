from pathlib import Path
from typing import Any

import pytest
import yaml

from services.local.options import UpOptions
from services.local.served_pools import check_device, configured, effective, references, to_yaml
from services.shared.config import Cluster, Pool
from services.shared.engine_settings import Draft, SimulatedEngine, VllmEngine
from services.shared.gates import Gates
from services.shared.registry import Reference
from services.shared.settings import WrongSettings

REAL = Pool(name="chat", model="smol@canary", workers=2, engine=VllmEngine(max_running=8))
MADE_UP = Pool(name="fake", model="simulated", engine=SimulatedEngine(step_ms=1))
BOTH = Cluster(pools=(REAL, MADE_UP))


def options(**given: Any) -> UpOptions:
    return UpOptions(data_dir=Path("/data"), working_dir=Path("/here"), **given)


def served(cluster: Cluster, **given: Any) -> tuple[Pool, ...]:
    return effective(cluster, options(**given)).pools


def test_without_options_the_file_is_served_as_it_is() -> None:
    assert effective(BOTH, options()) == BOTH


def test_settings_of_the_whole_cluster_are_kept() -> None:
    cluster = Cluster(
        pools=BOTH.pools, strict_requests=True, cors_origins=("*",), traces_endpoint="http://collector:4317"
    )
    assert effective(cluster, options()) == cluster


def test_an_engine_chooses_the_pools_that_run_it() -> None:
    assert served(BOTH, engine="simulated") == (MADE_UP,)
    assert served(BOTH, engine="vllm") == (REAL,)


def test_simulated_is_served_where_no_pool_is() -> None:
    (pool,) = served(Cluster(pools=(REAL,)), engine="simulated", workers=3)
    assert (pool.name, pool.model, pool.workers) == ("simulated", "simulated", 3)
    assert pool.engine == SimulatedEngine()


def test_a_model_chooses_its_pool_and_may_name_another_version() -> None:
    assert served(BOTH, model="smol@latest") == (REAL.model_copy(update={"model": "smol@latest"}),)


def test_a_model_without_a_pool_gets_one() -> None:
    (pool,) = served(BOTH, model="other")
    assert (pool.name, pool.model, pool.engine) == ("other", "other", VllmEngine())


def test_an_engine_can_be_swapped_under_a_model() -> None:
    (pool,) = served(BOTH, model="smol", engine="simulated")
    assert (pool.name, pool.engine) == ("chat", SimulatedEngine())


def test_a_folder_is_served_under_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "My Model"
    folder.mkdir()
    assert served(BOTH, model=str(folder))[0].name == "my-model"


def test_what_is_neither_path_nor_reference_is_told() -> None:
    with pytest.raises(WrongSettings, match="--model = 'No Such'"):
        served(BOTH, model="No Such")


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.touch()
    with pytest.raises(WrongSettings, match="no source of a model"):
        served(BOTH, model=str(file))


def test_drafts_are_models_too() -> None:
    engine = VllmEngine(speculation=Draft(method="eagle", model="head"))
    cluster = Cluster(pools=(REAL, Pool(name="b", model="smol@canary", engine=engine)))
    assert references(cluster) == (Reference("smol", "canary"), Reference("head"))


def test_the_written_file_reads_as_the_same(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(to_yaml(BOTH))
    assert configured(file, tmp_path) == BOTH
    assert configured(None, tmp_path) == BOTH
    assert "fake" in yaml.safe_dump(yaml.safe_load(file.read_text()))


def test_an_argument_of_vllm_that_is_null_is_written_again(tmp_path: Path) -> None:
    engine = VllmEngine(args={"attention_backend": None, "compilation_config": {"mode": 0}})
    file = tmp_path / "tidegate.yaml"
    file.write_text(to_yaml(Cluster(pools=(REAL.model_copy(update={"engine": engine}),))))
    assert configured(file, tmp_path).pools[0].engine == engine


def test_a_bound_or_a_whole_gate_that_is_off_is_written_again_as_off(tmp_path: Path) -> None:
    """What is null by default may be left out, but not what is null on purpose."""
    file = tmp_path / "tidegate.yaml"
    for gates in (None, Gates(tpot=None, evaluation={"held_out_loss": None})):
        file.write_text(to_yaml(Cluster(pools=(REAL.model_copy(update={"gates": gates}),))))
        assert configured(None, tmp_path).pools[0].gates == gates


def test_a_setting_that_does_not_go_with_the_device_is_told_with_its_pool() -> None:
    cluster = Cluster(pools=(MADE_UP, REAL.model_copy(update={"engine": VllmEngine(kv_offload_gib=2)})))
    check_device(cluster, on_cpu=False)
    with pytest.raises(WrongSettings, match=r"pools\.chat\.engine\.kv_offload_gib = 2: a CPU has no second memory"):
        check_device(cluster, on_cpu=True)


def test_where_there_is_no_file_the_packaged_model_is_served(tmp_path: Path) -> None:
    assert [pool.name for pool in configured(None, tmp_path).pools] == ["smollm2-135m-instruct"]
    with pytest.raises(WrongSettings, match=r"none\.yaml"):
        configured(tmp_path / "none.yaml", tmp_path)
