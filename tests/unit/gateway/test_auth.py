"""Keys and who may listen where."""

import pytest

from gateway.auth import KeyRing, check_exposure
from gateway.toml import ConfigError


def test_a_key_finds_its_owner() -> None:
    keys = KeyRing(["alice:k1", "alice:k2", "bob:with:colon"])
    assert keys.owner("k1") == "alice"
    assert keys.owner("k2") == "alice"
    assert keys.owner("with:colon") == "bob"
    assert keys.owner("alice") is None
    assert keys.owner("") is None


def test_no_key_is_kept_in_the_clear() -> None:
    keys = KeyRing(["alice:topsecret"])
    assert "topsecret" not in repr(vars(keys))


def test_one_key_cannot_have_two_owners() -> None:
    with pytest.raises(ConfigError) as caught:
        KeyRing(["alice:topsecret", "bob:topsecret"])
    assert "alice" in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_who_may_manage_models() -> None:
    keys = ["alice:k1", "bob:k2", "alice:k3"]

    def found(admins: list[str] | None) -> list[str]:
        ring = KeyRing(keys, admins)
        return [name for name in ("alice", "bob", "") if ring.is_admin(name)]

    assert found(None) == ["alice"]
    assert found(["bob"]) == ["bob"]
    assert found([]) == []
    assert KeyRing([]).is_admin("local")


def test_an_admin_has_a_key() -> None:
    with pytest.raises(ConfigError, match=r"auth\.admins: 'alise' has no API key.*alice"):
        KeyRing(["alice:k1"], ["alise"])
    with pytest.raises(ConfigError, match="'ops' has no API key"):
        KeyRing([], ["ops"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3"])
def test_loopback_needs_no_key(host: str) -> None:
    check_exposure(host, KeyRing([]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_elsewhere_a_key_is_needed(host: str) -> None:
    with pytest.raises(ConfigError, match="JURAT_API_KEYS=name:key"):
        check_exposure(host, KeyRing([]))
    check_exposure(host, KeyRing(["a:b"]))
