"""Azure OpenAI: OpenAI's shape with filter annotations, integer seconds in its headers, and its own refusals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask
from spillway.sim.limits import Verdict
from spillway.sim.wire import openai_errors
from spillway.sim.wire.dialect import Refusal, StreamPlan, Trouble, bearer, json_bytes, sse, whole_seconds
from spillway.sim.wire.openai import OpenAiDialect, envelope

_SAFE = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}
_PROMPT_RESULTS = [{"prompt_index": 0, "content_filter_results": _SAFE}]

_OWN_BODIES: dict[str, tuple[int, str, str]] = {
    "no_key": (401, "401", "Access denied due to missing subscription key."),
    "bad_key": (401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
    "no_model": (404, "DeploymentNotFound", "The API deployment for this resource does not exist."),
    "no_route": (404, "404", "Resource not found"),
    "forbidden": (403, "403", "The resource has been temporarily blocked."),
}


class AzureDialect(OpenAiDialect):
    """OpenAI behind Azure: `api-key` or a bearer token."""

    name = "azure"
    of_choice: Mapping[str, Any] = {"content_filter_results": _SAFE}

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the `api-key`, else the bearer token."""
        del query
        return headers.get("api-key", "") or bearer(headers)

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a `chat.completion` with the results of the content filter."""
        return super().unary(ask, answer)[:-1] + b',"prompt_filter_results":' + json_bytes(_PROMPT_RESULTS) + b"}"

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write chunks after a first one without choices, which carries the prompt's filter results.

        What the filter says of an answer comes in a chunk without text before the last, and again in that.
        """
        plan = super().stream(ask, answer)
        first = {
            **envelope(ask, answer, "chat.completion.chunk"),
            "choices": [],
            "prompt_filter_results": _PROMPT_RESULTS,
        }
        return StreamPlan(head=[sse(first), *plan.head], body=plan.body, tail=plan.tail)

    def headers(
        self, request_id: str, ask: Ask, answer: Answer, verdict: Verdict | None, wall: datetime
    ) -> dict[str, str]:
        """Return the ids, the deployment and the state of the limits."""
        del answer, wall
        return {
            "apim-request-id": request_id,
            "x-request-id": request_id,
            "x-ms-region": "Simulated",
            "x-ms-deployment-name": ask.model,
            **openai_errors.limit_headers(verdict, whole_seconds),
        }

    def refusal(self, trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
        """Write Azure's own body where it has one, else OpenAI's."""
        del wall
        headers = {"apim-request-id": request_id, "x-request-id": request_id}
        if trouble.kind == "content_filter":
            return Refusal(status=400, body=json_bytes(_filtered()), headers=headers)
        if trouble.kind == "rate_limit":
            return _rate_limit(trouble, headers)
        own = _OWN_BODIES.get(trouble.kind)
        if own is not None:
            status, code, message = own
            return Refusal(
                status=status, body=json_bytes({"error": {"code": code, "message": message}}), headers=headers
            )
        plain = openai_errors.refusal(trouble, request_id, clock=whole_seconds)
        return msgspec.structs.replace(plain, headers={**plain.headers, **headers})


def _rate_limit(trouble: Trouble, headers: dict[str, str]) -> Refusal:
    verdict = trouble.verdict
    what = "token" if verdict is not None and verdict.limited_by == "tokens" else "call"
    message = (
        f"Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded {what} rate limit "
        "of your current pricing tier."
    )
    headers = {**headers, **openai_errors.limit_headers(verdict, whole_seconds)}
    wait = trouble.retry_after_s
    if wait is not None and not (verdict is not None and verdict.fits_never):
        message = f"{message} Please retry after {whole_seconds(wait)} seconds."
        headers |= openai_errors.retry_headers(wait)
    return Refusal(status=429, body=json_bytes({"error": {"code": "429", "message": message}}), headers=headers)


def _filtered() -> dict[str, object]:
    results = {
        **_SAFE,
        "violence": {"filtered": True, "severity": "medium"},
        "jailbreak": {"filtered": False, "detected": False},
    }
    return {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management"
            " policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": results},
        }
    }
