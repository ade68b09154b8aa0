"""LEAF's tokens and their hashes."""

from hashlib import blake2b

import pytest

from fedmeta.benchmarks.sent140.tokens import (
    LENGTH,
    PADDING,
    TokenHashes,
    hash_text,
    token_hash,
)


def hashes_of(*tokens):
    return [token_hash(token) for token in tokens] + [PADDING] * (LENGTH - len(tokens))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I'm so-so, @you!!", ["I'm", "so", "so", ",", "you", "!", "!"]),
        ("http://a.b/c?d=1;", ["http", "a", ".", "b", "c", "?", "d", "1", ";"]),
        ("caf\xe9 #no_1 (:", ["caf\xe9", "no_1"]),
        (":-) \x85 \xa0", []),
        ("", []),
    ],
)
def test_tokens_are_leafs(text, tokens):
    assert hash_text(text, TokenHashes(), lowercase=False) == hashes_of(*tokens)


def test_lower_case_is_a_choice():
    assert hash_text("Good \xc9T\xc9", TokenHashes(), True) == hashes_of(
        "good", "\xe9t\xe9"
    )
    assert token_hash("Good") != token_hash("good")


def test_only_the_first_25_tokens_count():
    words = [f"w{i}" for i in range(40)]
    assert hash_text(" ".join(words), TokenHashes(), False) == hashes_of(*words[:25])


def test_a_hash_never_changes():
    # packed files and codebooks of other days and machines rely on these numbers
    assert token_hash("good") == 3509812042012788487
    digest = blake2b("\xe9".encode(), digest_size=8).digest()
    assert token_hash("\xe9") == int.from_bytes(digest, "little", signed=True)
    assert -(2**63) <= min(map(token_hash, "abcdefgh")) < 0  # all of int64 is used


def test_hashes_are_reckoned_once():
    hashes = TokenHashes()
    hash_text("a b a", hashes, False)
    assert dict(hashes) == {"a": token_hash("a"), "b": token_hash("b")}
    hashes["a"] = 7
    assert hash_text("a", hashes, False)[0] == 7
