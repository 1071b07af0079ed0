"""What must not be done twice is not done elsewhere either, unless the provider said that it did not do it."""

import pytest
from stage import deployment, ended, retry

from spillway import NetworkError, RateLimited, ServerError


@pytest.mark.parametrize(
    ("error", "idempotent", "serves"),
    [
        (NetworkError("reset", reason="reset"), True, "b"),
        (NetworkError("reset", reason="reset"), False, "a"),
        (ServerError("down", status=503), False, "b"),
        (RateLimited("slow down", status=429, limited_by="provider"), False, "b"),
    ],
)
def test_a_fallback_is_asked_only_when_nothing_can_have_happened(play, error, idempotent, serves):
    async def test(world):
        answer, _ = await ended(world.ask("a"))
        assert answer.deployment == serves
        assert len(world["b"].calls) == (serves == "b")

    deployments = [deployment("a", fallback=("b",), idempotent=idempotent, retry=retry(max_retries=0)), deployment("b")]
    play(test, deployments=deployments, scripts={"a": (error,), "b": ("ok",)})
