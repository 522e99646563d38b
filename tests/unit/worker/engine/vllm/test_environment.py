from services.worker.engine.vllm.environment import prepare


def test_torch_compiles_only_where_the_pool_says_so() -> None:
    environ = {"TORCHDYNAMO_DISABLE": "0"}
    prepare(compiles=False, environ=environ)
    assert environ["TORCHDYNAMO_DISABLE"] == "1"
    prepare(compiles=True, environ=environ)
    assert environ["TORCHDYNAMO_DISABLE"] == "0"


def test_nothing_is_fetched_and_nothing_reported() -> None:
    environ: dict[str, str] = {}
    prepare(compiles=True, environ=environ)
    assert {environ[name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS")} == {"1"}
