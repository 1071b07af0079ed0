"""Spillway: everything between a program and remote models, correct under concurrency, faults and crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.lazy import exporter

if TYPE_CHECKING:
    from spillway.core.errors import (
        Backpressure,
        BadRequest,
        BudgetExceeded,
        CircuitOpen,
        ConfigError,
        ContentFiltered,
        ContextLengthExceeded,
        Forbidden,
        InferenceError,
        InvalidApiKey,
        ModelNotFound,
        NetworkError,
        QuotaExhausted,
        RateLimited,
        ServerError,
        StreamInterrupted,
        Timeout,
        Unauthorized,
    )
    from spillway.core.options import (
        Budget,
        CircuitBreakerConfig,
        Deployment,
        HttpConfig,
        Pricing,
        RateLimits,
        RetryPolicy,
        RuntimeConfig,
        Serving,
        Timeouts,
    )
    from spillway.core.ports import ExecuteBatch, ModelRunner, RunHandle
    from spillway.core.priority import Priority
    from spillway.core.reply import (
        Choice,
        Embeddings,
        FinishReason,
        TokenChunk,
        Tokens,
        ToolCall,
        ToolCallDelta,
        Usage,
    )
    from spillway.core.secrets import Secret, SecretRef
    from spillway.providers.anthropic.config import AnthropicConfig
    from spillway.providers.gemini.config import GeminiConfig
    from spillway.providers.litellm.config import LiteLlmConfig
    from spillway.providers.openai.config import OpenAiConfig
    from spillway.remote.cost import CostEstimate
    from spillway.runtime.cluster import Cluster
    from spillway.runtime.deployed import Deployed
    from spillway.runtime.metrics import ClusterMetrics, DeploymentMetrics, KeyMetrics
    from spillway.runtime.stream import TokenStream

__version__ = "0.1.0"

__all__ = [
    # the door
    "Cluster",
    "ClusterMetrics",
    "Deployed",
    "DeploymentMetrics",
    "KeyMetrics",
    "TokenStream",
    # what is asked and what comes back
    "Choice",
    "CostEstimate",
    "Embeddings",
    "FinishReason",
    "Priority",
    "TokenChunk",
    "Tokens",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    # options
    "AnthropicConfig",
    "Budget",
    "CircuitBreakerConfig",
    "Deployment",
    "GeminiConfig",
    "HttpConfig",
    "LiteLlmConfig",
    "OpenAiConfig",
    "Pricing",
    "RateLimits",
    "RetryPolicy",
    "RuntimeConfig",
    "Secret",
    "SecretRef",
    "Serving",
    "Timeouts",
    # a provider of one's own
    "ExecuteBatch",
    "ModelRunner",
    "RunHandle",
    # errors
    "BadRequest",
    "Backpressure",
    "BudgetExceeded",
    "CircuitOpen",
    "ConfigError",
    "ContentFiltered",
    "ContextLengthExceeded",
    "Forbidden",
    "InferenceError",
    "InvalidApiKey",
    "ModelNotFound",
    "NetworkError",
    "QuotaExhausted",
    "RateLimited",
    "ServerError",
    "StreamInterrupted",
    "Timeout",
    "Unauthorized",
]

__getattr__ = exporter(
    __name__,
    {
        "spillway.core.errors": (
            "BadRequest",
            "Backpressure",
            "BudgetExceeded",
            "CircuitOpen",
            "ConfigError",
            "ContentFiltered",
            "ContextLengthExceeded",
            "Forbidden",
            "InferenceError",
            "InvalidApiKey",
            "ModelNotFound",
            "NetworkError",
            "QuotaExhausted",
            "RateLimited",
            "ServerError",
            "StreamInterrupted",
            "Timeout",
            "Unauthorized",
        ),
        "spillway.core.options": (
            "Budget",
            "CircuitBreakerConfig",
            "Deployment",
            "HttpConfig",
            "Pricing",
            "RateLimits",
            "RetryPolicy",
            "RuntimeConfig",
            "Serving",
            "Timeouts",
        ),
        "spillway.core.ports": ("ExecuteBatch", "ModelRunner", "RunHandle"),
        "spillway.core.priority": ("Priority",),
        "spillway.core.reply": (
            "Choice",
            "Embeddings",
            "FinishReason",
            "TokenChunk",
            "Tokens",
            "ToolCall",
            "ToolCallDelta",
            "Usage",
        ),
        "spillway.core.secrets": ("Secret", "SecretRef"),
        "spillway.providers.anthropic.config": ("AnthropicConfig",),
        "spillway.providers.gemini.config": ("GeminiConfig",),
        "spillway.providers.litellm.config": ("LiteLlmConfig",),
        "spillway.providers.openai.config": ("OpenAiConfig",),
        "spillway.remote.cost": ("CostEstimate",),
        "spillway.runtime.cluster": ("Cluster",),
        "spillway.runtime.deployed": ("Deployed",),
        "spillway.runtime.metrics": ("ClusterMetrics", "DeploymentMetrics", "KeyMetrics"),
        "spillway.runtime.stream": ("TokenStream",),
    },
)
