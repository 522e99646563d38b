from random import Random

import pytest

from services.gateway.accounts.api_keys import ApiKeys
from services.gateway.domain.secrets import CacheSalt, ServerSecret

SECRET = ServerSecret("a secret of the tests, long enough")


def test_own_keys_are_recognised_by_their_tag() -> None:
    keys = ApiKeys(SECRET, Random(1))
    made = [keys.mint() for _ in range(50)]
    assert len({new.key for new in made}) == len({new.id for new in made}) == 50
    for new in made:
        assert keys.is_ours(new.key)
        assert new.key.startswith(new.prefix)
        assert new.digest == keys.digest(new.key)
        changed = new.key[:20] + ("a" if new.key[20] != "a" else "b") + new.key[21:]
        assert not keys.is_ours(changed)


@pytest.mark.parametrize("key", ["", "tg-", "tg-x", "tg-" + "a" * 48, "sk-" + "a" * 48, "\udcff\xff"])
def test_other_strings_are_not(key: str) -> None:
    assert not ApiKeys(SECRET, Random(1)).is_ours(key)


def test_another_server_recognises_none_of_them() -> None:
    new = ApiKeys(SECRET, Random(1)).mint()
    other = ApiKeys(ServerSecret("another secret of the tests, as long"), Random(1))
    assert not other.is_ours(new.key)
    assert other.digest(new.key) != new.digest


def test_purposes_have_keys_of_their_own() -> None:
    assert SECRET.key("one") != SECRET.key("other")
    own, shared = CacheSalt(SECRET, shared=False), CacheSalt(SECRET, shared=True)
    assert own.of("acme") == CacheSalt(SECRET, shared=False).of("acme") != own.of("other")
    assert shared.of("acme") == shared.of("other") == ""
