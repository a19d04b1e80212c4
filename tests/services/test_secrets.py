from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

import config as configuration
from config import Config
from services.secrets import SecretUnreadable, rotate, seal, unseal

pytestmark = pytest.mark.usefixtures("config")


def use_keys(config: Config, *keys: str) -> None:
    configuration.activate(replace(config, encryption_keys=keys))


def test_it_opens_what_it_sealed() -> None:
    assert unseal(seal("segredo\ncom linhas", owner_id="a1"), owner_id="a1") == "segredo\ncom linhas"


def test_it_shows_nothing_of_the_secret() -> None:
    assert "segredo" not in seal("segredo", owner_id="a1")


def test_it_refuses_a_secret_copied_into_another_row() -> None:
    sealed = seal("segredo", owner_id="a1")

    with pytest.raises(SecretUnreadable) as refused:
        unseal(sealed, owner_id="b2")

    assert "segredo" not in str(refused.value)


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-4], lambda text: "x" + text[1:], lambda text: "ação", lambda text: ""]
)
def test_it_refuses_a_damaged_secret(damage) -> None:  # type: ignore[no-untyped-def]
    sealed = seal("segredo", owner_id="a1")

    with pytest.raises(SecretUnreadable):
        unseal(damage(sealed), owner_id="a1")


def test_it_opens_secrets_of_older_keys_and_rotates_them_to_the_newest(config: Config) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    use_keys(config, old)
    sealed = seal("segredo", owner_id="a1")

    use_keys(config, new, old)
    assert unseal(sealed, owner_id="a1") == "segredo"
    renewed = rotate(sealed, owner_id="a1")

    use_keys(config, new)
    assert unseal(renewed, owner_id="a1") == "segredo"
    with pytest.raises(SecretUnreadable):
        unseal(sealed, owner_id="a1")


def test_it_does_not_rotate_a_secret_into_another_row(config: Config) -> None:
    with pytest.raises(SecretUnreadable):
        rotate(seal("segredo", owner_id="a1"), owner_id="b2")
