from pathlib import Path

import pytest

from services.shared.classes import ServiceClass
from services.shared.config import Cluster, Pool, load
from services.shared.engine_settings import Ngram, VllmEngine
from services.shared.settings import WrongSettings


def written(folder: Path, text: str) -> Path:
    file = folder / "tidegate.yaml"
    file.write_text(text)
    return file


def test_a_file_is_read_with_defaults(tmp_path: Path) -> None:
    pools = "pools: [{name: a, model: a@canary, engine: {kind: vllm, speculation: {method: ngram}}}]"
    text = f"{pools}\nclasses: {{flex: {{max_queued: 5}}}}"
    cluster = load(written(tmp_path, text))
    assert cluster.pool("a").engine == VllmEngine(speculation=Ngram(method="ngram"))
    assert cluster.policy(ServiceClass.FLEX).max_queued == 5
    assert cluster.policy(ServiceClass.BATCH).max_queued == 10_000


def test_origins_of_pages_are_those_that_browsers_send(tmp_path: Path) -> None:
    origins = ("*", "https://a.example", "http://localhost:3000", "http://[::1]:5173", "app://obsidian.md")
    text = f"pools: [{{name: a, model: a}}]\ncors_origins: {list(origins)}"
    assert load(written(tmp_path, text)).cors_origins == origins


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("", "(top level)", "None"),
        ("pools: []", "pools", "[]"),
        ("pools: [{name: A B, model: a}]", "pools.0.name", "'A B'"),
        ("pools: [{name: a, model: a, wrokers: 2}]", "pools.0.wrokers", "2"),
        ("pools: [{name: a, model: a, workers: -1}]", "pools.0.workers", "-1"),
        ("pools: [{name: a, model: a, engine: {kind: tgi}}]", "pools.0.engine", "tgi"),
        ("pools: [{name: a, model: a}]\nclasses: {gold: {}}", "classes.gold", "gold"),
        ("pools: [{name: a, model: a}, {name: a, model: b}]", "names must differ", "a"),
        ("pools: [{name: a, model: a}]\ncors_origins: [https://a.example/]", "cors_origins.0", "https://a.example/"),
        ("pools: [{name: a, model: a}]\ncors_origins: ['*.example']", "cors_origins.0", "*.example"),
    ],
)
def test_a_wrong_file_is_told_by_file_key_and_value(tmp_path: Path, text: str, key: str, value: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(WrongSettings) as wrong:
        load(file)
    for part in (str(file), key, value):
        assert part in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pools: [{name: a}]", "pools.0.model is not set: Registry reference of the model"),
        (
            "pools: [{name: a, model: a, engine: {kind: vllm, speculation: {method: eagle}}}]",
            "pools.0.engine.vllm.speculation.eagle.model is not set: Registry reference of the speculator",
        ),
        (
            "pools: [{name: a, model: a}]\nprices: {models: {a: {prompt: 1}}}",
            "prices.models.a.completion is not set: Price of a million completion tokens",
        ),
        ("pools: [{name: a, model: a, wrokers: 2}]", "pools.0.wrokers = 2: unknown key"),
    ],
)
def test_a_message_says_what_a_missing_key_is_for(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WrongSettings) as wrong:
        load(written(tmp_path, text))
    assert said in str(wrong.value)


@pytest.mark.parametrize(
    ("split", "each"),
    [("tensor_parallel: 4", 4), ("tensor_parallel: 4, nodes: 2", 2), ("pipeline_parallel: 2, nodes: 2", 1)],
)
def test_each_node_has_its_part_of_the_gpus(tmp_path: Path, split: str, each: int) -> None:
    cluster = load(written(tmp_path, f"pools: [{{name: a, model: a, engine: {{kind: vllm, {split}}}}}]"))
    engine = cluster.pools[0].engine
    assert isinstance(engine, VllmEngine)
    assert engine.ranks_per_node == each


def test_workers_on_several_nodes_have_no_adapters(tmp_path: Path) -> None:
    engine = "{kind: simulated, nodes: 2}"
    with pytest.raises(WrongSettings, match=r"adapters and engine.nodes = 2: workers on several nodes serve no"):
        load(written(tmp_path, f"pools: [{{name: a, model: a, adapters: {{names: [b]}}, engine: {engine}}}]"))


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("data_parallel: 2", "data_parallel = 2: the router cannot see the queue"),
        ("nodes: 2", "nodes = 2: each node has the same number of GPUs"),
        (
            "nodes: 3, tensor_parallel: 4",
            "pipeline_parallel = 1 are 4. Choose nodes that divide 4",
        ),
        ("nodes: 65", "nodes = 65: Input should be less than or equal to 64"),
        ("executor: ray", "executor = 'ray': workers run without Ray. For several nodes set `nodes`"),
        ("kv_memory_gib: 1, gpu_memory_utilization: 0.5", "both decide the size of the KV cache. Set one of them"),
        ("expert_parallel: true", "expert_parallel = true does nothing with tensor_parallel = 1"),
        ("gpu_memory_utilization: 1.5", "gpu_memory_utilization = 1.5: Input should be less than or equal to 1"),
        ("quantization: ''", "quantization = '': String should have at least 1 character"),
        ("media: {smell: 1}", "media.smell"),
        ("media: {image: -1}", "media.image = -1"),
        ("speculation: {method: mlp}", "speculation"),
        ("speculation: {method: medusa, model: d, adaptive: true}", "vLLM cannot switch drafts of medusa"),
        ("args: {max_num_seqs: 4}", "args: max_num_seqs: set the key `max_running` of `engine` instead"),
        ("args: {--max-num-seqs: 4}", "--max-num-seqs: set the key `max_running`"),
        ("args: {context_tokens: 64}", "context_tokens: a key of `engine`, not of `args`"),
        ("args: {trust_remote_code: true}", "trust_remote_code: not allowed, because workers run no code"),
        ("args: {_api_process_rank: 1}", "_api_process_rank: no argument of vLLM"),
        ("args: {kv_offloading_backend: lmcache}", "does not reach LMCache"),
        ("args: {seed: 2026-01-01}", "args.seed = (hidden): input was not a valid JSON value"),
    ],
)
def test_a_wrong_setting_of_vllm_is_told(tmp_path: Path, engine: str, said: str) -> None:
    with pytest.raises(WrongSettings) as wrong:
        load(written(tmp_path, f"pools: [{{name: a, model: a, engine: {{kind: vllm, {engine}}}}}]"))
    assert "pools.0.engine.vllm" in str(wrong.value)
    assert said in str(wrong.value)


@pytest.mark.parametrize(
    "args", ["{hf_token: s3cret}", "{hf_token: {a: s3cret}, seed: 2026-01-01}", "s3cret", "[s3cret]"]
)
def test_no_value_of_an_argument_is_shown(tmp_path: Path, args: str) -> None:
    with pytest.raises(WrongSettings) as wrong:
        load(written(tmp_path, f"pools: [{{name: a, model: a, engine: {{kind: vllm, args: {args}}}}}]"))
    assert "args" in str(wrong.value)
    assert "s3cret" not in str(wrong.value)
    assert "at least 1 item" not in str(wrong.value)


def test_a_worker_has_a_process_for_each_part_of_the_model() -> None:
    assert VllmEngine().ranks == 1
    assert VllmEngine(tensor_parallel=4, pipeline_parallel=2).ranks == 8


def test_no_file_and_no_yaml_are_told_by_path(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match=r"none\.yaml"):
        load(tmp_path / "none.yaml")
    with pytest.raises(WrongSettings, match=r"tidegate\.yaml"):
        load(written(tmp_path, "pools: [unclosed"))


def test_an_unknown_pool_names_those_there_are() -> None:
    with pytest.raises(WrongSettings, match="there are: a, b"):
        Cluster(pools=(Pool(name="a", model="a"), Pool(name="b", model="b"))).pool("c")


def test_a_class_keeps_its_own_defaults_when_the_file_is_written_again(tmp_path: Path) -> None:
    read = load(written(tmp_path, "pools: [{name: a, model: a}]\nclasses: {priority: {max_queued: 5}}"))
    again = load(written(tmp_path, read.model_dump_json(exclude_none=True)))
    for cluster in (read, again):
        assert (cluster.policy(ServiceClass.PRIORITY).max_queued, cluster.policy(ServiceClass.PRIORITY).preempts) == (
            5,
            True,
        )
        assert cluster.policy(ServiceClass.BATCH).preemptible
        assert cluster.policy(ServiceClass.DEFAULT).ageing_s == 10
