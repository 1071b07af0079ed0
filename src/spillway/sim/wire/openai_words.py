"""What OpenAI's two APIs write of an answer in the same way: ids, log probabilities, sound."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from spillway.sim.answers import Answer
from spillway.sim.vocabulary import SPACED

SOUND_BYTES = 6


def call_id(answer: Answer, at: int = 0) -> str:
    """Return the id of the answer's tool call number `at`."""
    own = answer.digest.hex()[:24]
    return f"call_{own}" if at == 0 else f"call_{own[:20]}{at:04x}"


def logprob(piece: str, top: int) -> dict[str, Any]:
    """Return the log probability of a piece, with those of `top` pieces that might have stood there."""
    digest = hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    value = -digest[0] / 256
    others = [(SPACED[digest[at]], value - at / 4) for at in range(1, top)]
    shown = [_of_token(token, chance) for token, chance in [(piece, value), *others][:top]]
    return {**_of_token(piece, value), "top_logprobs": shown}


def sound(piece: str) -> str:
    """Return how a piece sounds, in base64 without padding."""
    digest = hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=SOUND_BYTES).digest()
    return base64.b64encode(digest).decode()


def _of_token(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "logprob": chance, "bytes": list(token.encode("utf-8", "surrogatepass"))}
