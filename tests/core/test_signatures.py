from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.signatures import verify_bling_signature

BODY = '{"event":"stock.created","data":{"nome":"Açaí"}}'.encode()


def sign(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_it_accepts_a_published_example() -> None:
    """RFC 4231, test case 2."""
    header = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    assert verify_bling_signature(b"what do ya want for nothing?", header, ["Jefe"])


def test_it_accepts_the_signature_of_any_of_the_secrets() -> None:
    assert verify_bling_signature(BODY, sign(BODY, "old"), ["old"])
    assert verify_bling_signature(BODY, sign(BODY, "old"), ["new", "old"])
    assert verify_bling_signature(BODY, sign(BODY, "old"), ["old", "new"])


def test_it_does_not_mind_the_case_of_the_digits() -> None:
    assert verify_bling_signature(BODY, "sha256=" + sign(BODY, "s")[7:].upper(), ["s"])


def test_it_refuses_another_body_and_another_secret() -> None:
    assert not verify_bling_signature(BODY + b" ", sign(BODY, "s"), ["s"])
    assert not verify_bling_signature(BODY, sign(BODY, "s"), ["t"])
    assert not verify_bling_signature(BODY, sign(BODY, "s"), [])


def test_an_empty_secret_signs_nothing() -> None:
    assert not verify_bling_signature(BODY, sign(BODY, ""), ["", "s"])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        "sha256",
        "sha1=" + "0" * 40,
        sign(BODY, "s")[7:],
        sign(BODY, "s")[:-1],
        sign(BODY, "s") + "0",
        "sha256=" + "é" * 64,
        "sha256=" + "٣" * 64,
        "sha256=\x00" + "0" * 63,
        "�",
        "sha256=" + "g" * 64,
    ],
)
def test_it_refuses_a_header_of_another_form(header: str | None) -> None:
    assert not verify_bling_signature(BODY, header, ["s"])


@given(st.binary(), st.none() | st.text(), st.lists(st.text()))
def test_rubbish_is_refused_without_an_exception(body: bytes, header: str | None, secrets: list[str]) -> None:
    assert verify_bling_signature(body, header, secrets) is False


@given(st.binary(), st.text(alphabet=st.characters(), min_size=1))
def test_odd_secrets_raise_nothing(body: bytes, secret: str) -> None:
    assert verify_bling_signature(body, "sha256=" + "0" * 64, [secret, "\ud800"]) is False
