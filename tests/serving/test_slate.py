"""Slate tokens: ours, dated, and not to be forged."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime

import pytest

from core.errors import InvalidRequest
from serving.slate import issued_at, sign

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def test_a_token_tells_when_it_was_issued_and_no_two_are_alike() -> None:
    tokens = {sign("secret", NOW) for _ in range(100)}
    assert len(tokens) == 100
    assert {issued_at("secret", token) for token in tokens} == {NOW}
    assert all(len(token) == 40 for token in tokens)


@pytest.mark.parametrize("secret", ["", "short", "s" * 64, "s" * 65, "ä" * 90])
def test_a_token_is_signed_as_hmac_says(secret: str) -> None:
    _, text, signature = sign(secret, NOW).split(".")
    expected = hmac.digest(secret.encode(), b"slate:" + text.encode(), "sha256")[:12]
    assert base64.urlsafe_b64decode(signature) == expected


@pytest.mark.parametrize(
    "token",
    ["", "s1", "s1.", "s1..", "s1.AAAA.", "s2.a.b", "s1.Ж.Ж", "x" * 5000, "s1.AAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAA"],
)
def test_what_was_not_signed_here_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest, match="slate"):
        issued_at("secret", token)


def test_a_token_changed_anywhere_or_signed_by_another_is_refused() -> None:
    token = sign("secret", NOW)
    for place in range(3, len(token)):
        other = "A" if token[place] != "A" else "B"
        if token[place] != ".":
            with pytest.raises(InvalidRequest):
                issued_at("secret", token[:place] + other + token[place + 1 :])
    with pytest.raises(InvalidRequest):
        issued_at("another secret", token)
