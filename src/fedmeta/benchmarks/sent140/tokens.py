"""A tweet as numbers: LEAF's tokens, each as a hash that is the same everywhere.

Hashes need no vocabulary, so packing is one pass over the text and any embedding can
be chosen later. With 64 bits, a million different tokens share a number with a
probability of 3e-8.
"""

import re
from hashlib import blake2b

LENGTH = 25  # tokens of a tweet that are kept
PADDING = 0  # no token's hash
_TOKEN = re.compile(r"[\w']+|[.,!?;]")  # LEAF's
_NOTHING = [PADDING] * LENGTH


def token_hash(token: str) -> int:
    """The number, int64 and never `PADDING`, that stands for a token."""
    digest = blake2b(token.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


class TokenHashes(dict[str, int]):
    """Hashes by token, each reckoned once: most words of a corpus come again."""

    def __missing__(self, token: str) -> int:
        self[token] = value = token_hash(token)
        return value


def hash_text(text: str, hashes: TokenHashes, lowercase: bool) -> list[int]:
    """The hashes of a text's first 25 tokens, filled up with `PADDING`.

    Args:
        text: of a tweet.
        hashes: is added to.
        lowercase: LEAF does not, but GloVe 6B has no capital letters, so that
            capitalised words would be unknown to it.
    """
    tokens = _TOKEN.findall(text.lower() if lowercase else text)[:LENGTH]
    return [hashes[token] for token in tokens] + _NOTHING[len(tokens) :]
