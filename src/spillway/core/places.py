"""Fields of a caller's body that say whom to ask, or as whom: only a deployment does that.

OpenAI's and Anthropic's own APIs have none of them; a LiteLLM proxy and other copies of those APIs read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLACES = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "azure_endpoint",
        "base_model",
        "base_url",
        "client",
        "client_id",
        "client_secret",
        "credentials",
        "custom_llm_provider",
        "default_headers",
        "deployment_id",
        "endpoint",
        "extra_headers",
        "extra_query",
        "headers",
        "http_client",
        "mock_response",
        "model_list",
        "organization",
        "organization_id",
        "password",
        "project_id",
        "proxies",
        "proxy",
        "proxy_server_request",
        "region_name",
        "secret_fields",
        "ssl_verify",
        "tenant_id",
        "token",
        "use_litellm_proxy",
        "user_config",
        "username",
        "zen_api_key",
    }
)
"""Their names."""

_OF_PLACES = (
    "arize_",
    "aws_",
    "azure_ad_",
    "azure_password",
    "azure_scope",
    "azure_username",
    "gcs_",
    "hf_",
    "langfuse_",
    "langsmith_",
    "litellm_",
    "oci_",
    "posthog_",
    "s3_",
    "sagemaker_",
    "slack_",
    "vertex_",
    "watsonx_",
)
_ENDS = ("_api_base", "_api_key", "_base_url", "_api_url", "_host")
_HARMLESS = frozenset(
    {
        "frequency_penalty",
        "input",
        "instructions",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "previous_response_id",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "system",
        "temperature",
        "text",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
    }
)
"""Of the fields that are none, the common ones, so that most bodies are known by a glance."""

_WITHIN = ("context_window_fallbacks", "content_policy_fallbacks", "extra_body", "fallbacks")


def without_places(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `body` without them, itself where it has none; what they hold is not looked at.

    Complexity: O(fields); below 2 µs for a common body.
    """
    if _HARMLESS.issuperset(body):
        return body
    found = [name for name in body if name in PLACES or name.startswith(_OF_PLACES) or name.endswith(_ENDS)]
    within = {name: kept for name in _WITHIN if name in body and (kept := _inside(body[name])) is not body[name]}
    if not found and not within:
        return body
    return {**{name: value for name, value in body.items() if name not in found}, **within}


def _inside(value: Any) -> Any:
    """Return a value that holds such fields again, without them."""
    if isinstance(value, Mapping):
        return without_places(value)
    if isinstance(value, list):
        kept = [_inside(each) for each in value]
        return value if all(new is old for new, old in zip(kept, value, strict=True)) else kept
    return value
