"""LiteLLM configurations of many shapes, each with what must become of it: tables by name, and findings by line."""

SIMPLE = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
  - model_name: haiku
    litellm_params:
      model: anthropic/claude-haiku-4-5
      api_key: os.environ/MY_ANTHROPIC_KEY
      api_base: https://claude.example/v1/messages
  - model_name: bare
    litellm_params: {model: gpt-4o-mini}
"""

AZURE_GROUP = """
model_list:
  - model_name: gpt-4
    litellm_params:
      model: azure/eu-gpt
      api_base: https://eu.openai.azure.com/openai/deployments/eu-gpt
      api_version: "2024-10-21"
      api_key: os.environ/AZURE_EU
      rpm: 600
      tpm: 60000
    model_info: {base_model: azure/gpt-4o, id: eu}
  - model_name: gpt-4
    litellm_params:
      model: azure/us-gpt
      api_base: https://us.openai.azure.com
      azure_ad_token: os.environ/ENTRA
      rpm: 1200
  - model_name: gpt-4
    litellm_params: {model: openai/gpt-4o, rpm: 300}
router_settings:
  routing_strategy: usage-based-routing-v2
"""

WEIGHTS = """
model_list:
  - {model_name: m, litellm_params: {model: openai/gpt-4o, weight: 9}}
  - {model_name: m, litellm_params: {model: openai/gpt-4o-mini}}
  - {model_name: m-1, litellm_params: {model: openai/gpt-4o-mini}}
"""

FALLBACKS = """
model_list:
  - {model_name: big, litellm_params: {model: openai/gpt-4o}}
  - {model_name: big, litellm_params: {model: openai/gpt-4.1}}
  - {model_name: small, litellm_params: {model: openai/gpt-4o-mini}}
  - {model_name: long, litellm_params: {model: gemini/gemini-2.5-flash}}
  - {model_name: gone, litellm_params: {model: bedrock/claude}}
litellm_settings:
  num_retries: 5
  request_timeout: 90
  drop_params: true
  fallbacks: [{big: [small, gone, nobody]}, {gone: [small]}]
  context_window_fallbacks:
    - small: [long]
  content_policy_fallbacks:
    - {big: [long]}
  default_fallbacks: [long]
router_settings:
  num_retries: 2
  allowed_fails: 3
  cooldown_time: 600
  retry_after: 2
"""

BUDGETS = """
model_list:
  - model_name: day
    litellm_params: {model: openai/gpt-4o, max_budget: 10, budget_duration: 1d}
  - model_name: hour
    litellm_params: {model: openai/gpt-4o, max_budget: 0.5, budget_duration: 60m}
  - model_name: month
    litellm_params: {model: anthropic/claude-haiku-4-5, max_budget: 100, budget_duration: 1mo}
  - model_name: week
    litellm_params: {model: openai/gpt-4o, max_budget: 5, budget_duration: 7d}
  - model_name: ever
    litellm_params: {model: openai/gpt-4o, max_budget: 5}
  - model_name: unpriced
    litellm_params: {model: openai/my-own, api_base: http://here/v1, max_budget: 5, budget_duration: 1d}
  - model_name: priced
    litellm_params:
      model: openai/my-own
      api_base: http://here/v1
      max_budget: 5
      budget_duration: 24h
      input_cost_per_token: 0.00000015
      output_cost_per_token: 6e-7
  - model_name: google
    litellm_params: {model: gemini/gemini-2.5-flash}
router_settings:
  provider_budget_config:
    gemini: {budget_limit: 7, time_period: 1d}
    openai: {budget_limit: 7, time_period: 1d}
    groq: {budget_limit: 7, time_period: 1d}
"""

COMPATIBLE = """
model_list:
  - {model_name: vllm, litellm_params: {model: hosted_vllm/llama, api_base: "http://gpu:8000/v1"}}
  - {model_name: own, litellm_params: {model: openai/llama, api_base: os.environ/OWN_BASE, api_key: os.environ/OWN_KEY}}
  - {model_name: fast, litellm_params: {model: groq/llama-3.3-70b}}
  - {model_name: deep, litellm_params: {model: openrouter/deepseek/deepseek-r1, api_key: os.environ/OR}}
  - {model_name: local, litellm_params: {model: ollama_chat/llama3, api_base: "http://box:11434"}}
  - {model_name: proxied, litellm_params: {model: litellm_proxy/gpt-4o, api_base: "http://other:4000", tags: [a, b]}}
  - {model_name: named, litellm_params: {model: llama-4, custom_llm_provider: openai, api_base: "http://x/v1"}}
  - {model_name: lost, litellm_params: {model: openai/llama, api_base: os.environ/NOT_SET}}
  - {model_name: where, litellm_params: {model: hosted_vllm/llama}}
"""

VERTEX = """
model_list:
  - model_name: flash
    litellm_params:
      model: vertex_ai/gemini-2.5-flash
      vertex_project: proj
      vertex_location: europe-west4
      vertex_credentials: /secrets/sa.json
  - model_name: env
    litellm_params:
      model: vertex_ai/gemini-2.5-pro
      vertex_project: os.environ/PROJECT
      vertex_credentials: os.environ/SA_JSON
  - model_name: claude
    litellm_params: {model: vertex_ai/claude-sonnet-4-5, vertex_project: proj}
  - model_name: nowhere
    litellm_params: {model: vertex_ai/gemini-2.5-pro}
"""

INLINE = """
model_list:
  - {model_name: a, litellm_params: {model: openai/gpt-4o, api_key: sk-VERYSECRET1}}
  - {model_name: b, litellm_params: {model: openai/gpt-4o, api_key: os.environ/SET_ABOVE}}
  - {model_name: c, litellm_params: {model: openai/gpt-4o, api_key: os.environ/ELSEWHERE}}
environment_variables:
  SET_ABOVE: sk-VERYSECRET2
  ELSEWHERE: os.environ/REALLY_HERE
  LANGFUSE_KEY: lf-VERYSECRET3
general_settings:
  master_key: sk-VERYSECRET4
"""

GENERAL = """
model_list:
  - {model_name: a, litellm_params: {model: openai/gpt-4o}}
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  database_url: postgresql://u:VERYSECRET@h/db
  alerting: [slack]
  background_health_checks: true
  store_model_in_db: false
litellm_settings:
  cache: true
  cache_params: {type: redis}
  success_callback: [langfuse]
  max_budget: 100
guardrails: [{guardrail_name: x}]
include: [more.yaml]
"""

WILDCARDS = """
model_list:
  - {model_name: "*", litellm_params: {model: "*"}}
  - {model_name: "openai/*", litellm_params: {model: "openai/*"}}
  - {model_name: kept, litellm_params: {model: openai/gpt-4o}}
"""

TIMES = """
model_list:
  - model_name: a
    tpm: 5000
    litellm_params:
      model: openai/gpt-4o
      timeout: 30
      stream_timeout: "12.5"
      max_retries: 0
      max_parallel_requests: 4
      temperature: 0.2
      rpm: 0
      extra_headers: {x: y}
      order: 2
    model_info: {mode: chat, max_tokens: 100, cache_read_input_token_cost: 1e-8}
  - {model_name: emb, litellm_params: {model: openai/text-embedding-3-small}, model_info: {mode: embedding}}
  - {model_name: pic, litellm_params: {model: openai/dall-e-3}, model_info: {mode: image_generation}}
  - {model_name: resp, litellm_params: {model: openai/gpt-4o}, model_info: {mode: responses}}
"""

ANCHORS = """
defaults: &defaults
  api_key: os.environ/SHARED
  timeout: 45
model_list:
  - model_name: a
    litellm_params: &a
      <<: *defaults
      model: openai/gpt-4o
  - model_name: b
    litellm_params:
      <<: [*a, *defaults]
      model: openai/gpt-4o-mini
      timeout: 60
"""

CREDENTIALS = """
credential_list:
  - credential_name: shared
    credential_values: {api_key: os.environ/SHARED, api_base: "https://eu.openai.azure.com", api_version: "2024-10-21"}
    credential_info: {description: x}
model_list:
  - {model_name: a, litellm_params: {model: azure/one, litellm_credential_name: shared}}
  - {model_name: b, litellm_params: {model: azure/two, litellm_credential_name: shared, api_version: "2025-01-01"}}
  - {model_name: c, litellm_params: {model: openai/gpt-4o, litellm_credential_name: absent}}
"""

BROKEN_ENTRIES = """
model_list:
  - nonsense
  - {model_name: 7}
  - {litellm_params: {model: openai/gpt-4o}}
  - {model_name: bad, litellm_params: [1]}
  - {model_name: ok, litellm_params: {model: openai/gpt-4o, rpm: lots, timeout: -1, weight: .nan}}
  - {model_name: 5, litellm_params: {model: openai/gpt-4o}}
router_settings: 7
litellm_settings: {fallbacks: {ok: notalist}}
"""
