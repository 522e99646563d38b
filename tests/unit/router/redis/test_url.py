import pytest

from services.router.redis.url import RedisUrl
from services.router.settings import RouterSettings
from services.shared.settings import WrongSettings, read

BASE = {"TIDEGATE_CONFIG": "tidegate.yaml", "TIDEGATE_LISTEN": "127.0.0.1:0", "TIDEGATE_HTTP_LISTEN": "127.0.0.1:0"}


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("redis://cache", RedisUrl("server", (("cache", 6379),))),
        ("redis://:p%40ss@[::1]:7000/3", RedisUrl("server", (("::1", 7000),), password="p@ss", database=3)),
        ("rediss://me:pw@cache:6380", RedisUrl("server", (("cache", 6380),), tls=True, username="me", password="pw")),
        (
            "redis+sentinel://me:pw@a:1,b/mymaster/2",
            RedisUrl("sentinel", (("a", 1), ("b", 26379)), username="me", password="pw", master="mymaster", database=2),
        ),
        ("rediss+cluster://a,b:7001", RedisUrl("cluster", (("a", 6379), ("b", 7001)), tls=True)),
    ],
)
def test_a_url_names_servers_and_credentials(url: str, parsed: RedisUrl) -> None:
    assert RedisUrl.parse(url) == parsed


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://me:s3cret@cache", "the URL must be redis://"),
        ("redis+ring://me:s3cret@cache", "the URL must be redis://"),
        ("redis://me:s3cret@a,b", "redis+cluster://"),
        ("redis://me:s3cret@", "no host:port"),
        ("redis://me:s3cret@cache:port", "no host:port"),
        ("redis://me:s3cret@cache/zero", "number of a database"),
        ("redis://me:s3cret@cache?db=1", "settings of their own"),
        ("redis+sentinel://me:s3cret@a,b", "must name the master"),
        ("redis+cluster://me:s3cret@a,b/1", "one database"),
    ],
)
def test_a_wrong_url_stops_the_start_without_telling_the_password(url: str, said: str) -> None:
    with pytest.raises(WrongSettings) as wrong:
        read(RouterSettings, {**BASE, "TIDEGATE_REDIS_URL": url})
    message = str(wrong.value)
    assert message.startswith("TIDEGATE_REDIS_URL = ")
    assert said in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TIDEGATE_REDIS_TLS_AUTHORITY": __file__}, "redis_tls_*"),
        ({"TIDEGATE_REDIS_TLS_KEY": __file__}, "go together"),
    ],
)
def test_keys_that_would_not_be_used_stop_the_start(given: dict[str, str], said: str) -> None:
    with pytest.raises(WrongSettings) as wrong:
        read(RouterSettings, {**BASE, "TIDEGATE_REDIS_URL": "redis://me:s3cret@cache", **given})
    assert said in str(wrong.value)
    assert "s3cret" not in str(wrong.value)


def test_a_file_that_is_not_there_is_named() -> None:
    settings = read(
        RouterSettings,
        {**BASE, "TIDEGATE_REDIS_URL": "rediss://cache", "TIDEGATE_REDIS_TLS_AUTHORITY": "/nowhere/ca.pem"},
    )
    with pytest.raises(WrongSettings, match="TIDEGATE_REDIS_TLS_AUTHORITY = /nowhere/ca"):
        settings.redis()
