"""Why keys of a LiteLLM configuration are not carried over, in words for those who look for them."""

from __future__ import annotations

_REDIS = "more than one process is not a matter of the router here: [cluster] store"
_SEEN = "what is seen of requests goes to /metrics, OpenTelemetry and logs here"
_CACHE = "answers are not cached"
_DATABASE = "there is no database; keys and spend are in the state file: `spillway keys create`"
ROUTER = {
    **dict.fromkeys(("redis_host", "redis_port", "redis_password", "redis_url"), _REDIS),
    "model_group_alias": "a deployment or group has one name; give the alias to a deployment of its own",
    "retry_policy": "a deployment retries by class of error: [deployment.retry] retry_on",
    "allowed_fails_policy": "the breaker counts every failure of the provider alike",
    "routing_strategy_args": "members of a group are asked by weight, then least busy",
    "cache_responses": _CACHE,
    "enable_pre_call_checks": "sizes are checked before sending anyway",
    "disable_cooldowns": "the breaker can't be turned off; a high failure_threshold comes near it",
    "optional_pre_call_checks": "there are none to choose",
    "provider_budget_config": "a budget is a deployment's own",
}
LITELLM = {
    **dict.fromkeys(
        ("callbacks", "success_callback", "failure_callback", "service_callbacks", "json_logs", "set_verbose",
         "turn_off_message_logging", "langfuse_default_tags", "redact_user_api_key_info"), _SEEN
    ),
    **dict.fromkeys(("cache", "cache_params"), _CACHE),
    "max_budget": "a cap is a deployment's or a key's, not the whole gateway's",
    "budget_duration": "a cap is a deployment's or a key's, not the whole gateway's",
    "ssl_verify": "certificates are always verified; [deployment.http] ca_file names authorities of your own",
    "default_internal_user_params": _DATABASE,
    "guardrails": "there are no guardrails",
}  # fmt: skip
GENERAL = {
    **dict.fromkeys(
        ("database_url", "store_model_in_db", "database_connection_pool_limit", "disable_spend_logs",
         "proxy_batch_write_at", "litellm_key_header_name", "enable_jwt_auth",
         "litellm_jwtauth"), _DATABASE
    ),
    "custom_auth": "callers show keys: [[gateway.keys]], or `spillway keys create`",
    "max_parallel_requests": "requests at once are limited by deployment: [deployment.rate_limits] concurrent_requests",
    "global_max_parallel_requests": "requests at once are limited by deployment: [deployment.rate_limits] "
    "concurrent_requests",
    "background_health_checks": "nothing is asked of a provider that no caller asked for",
    "health_check_interval": "nothing is asked of a provider that no caller asked for",
    "alerting": "alerts are made of /metrics",
    "alerting_threshold": "alerts are made of /metrics",
    "pass_through_endpoints": "no route leads where no deployment does",
}  # fmt: skip

_CALLERS = "no field of a request has a default here; callers send it"
PARAMS = {
    **dict.fromkeys(
        (
            "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "n", "presence_penalty",
            "frequency_penalty", "response_format", "tools", "tool_choice", "reasoning_effort", "thinking",
            "extra_body", "logit_bias", "user", "stream",
        ),
        _CALLERS,
    ),
    "extra_headers": "no headers of an operator's own are sent",
    "headers": "no headers of an operator's own are sent",
    "tags": "requests are not routed by tags",
    "order": "members of a group are asked by weight and load; a later one belongs into `fallback`",
    "cooldown_time": "a breaker is a deployment's own: [deployment.circuit_breaker] open_duration_s",
    "azure_ad_token_provider": "no token is made here: { from_command = […] } can print one",
    "tenant_id": "no token is made here: { from_command = […] } can print one",
    "client_id": "no token is made here: { from_command = […] } can print one",
    "client_secret": "no token is made here: { from_command = […] } can print one",
    "mock_response": "nothing is mocked; `spillway sim` is a whole simulator",
    "input_cost_per_second": "prices are by token",
    "output_cost_per_second": "prices are by token",
    "default_api_key_rpm_limit": "limits of a key are its own: [[gateway.keys]]",
    "default_api_key_tpm_limit": "limits of a key are its own: [[gateway.keys]]",
}  # fmt: skip
INFORMATION = "it informs only; `spillway models` knows models"
