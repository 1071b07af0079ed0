"""The `openai` package as a judge of OpenAI's, Azure's and LiteLLM's wires; it validates every answer strictly."""

import json

import judge
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState


def client_of(order, case, *, strict=True):
    url, key = order["url"], order["key"]
    options = {"max_retries": 0, "_strict_response_validation": strict}
    where = case["where"]
    if where == "azure":
        return openai.AzureOpenAI(azure_endpoint=url, api_key=key, api_version="2024-10-21", **options)
    base = {"openai": f"{url}/v1", "azure-v1": f"{url}/openai/v1/", "litellm": f"{url}/litellm/v1"}[where]
    return openai.OpenAI(base_url=base, api_key=key, **options)


def chat(order, case):
    with client_of(order, case) as client:
        ask = client.chat.completions.create
        asked = {**case["asked"], "extra_headers": judge.fault_header(case)}
        if not case.get("stream"):
            return said(ask(**asked))
        state = ChatCompletionStreamState()
        for chunk in ask(**asked, stream=True, stream_options={"include_usage": True}):
            state.handle_chunk(chunk)
        return said(state.current_completion_snapshot)


def said(completion):
    message = completion.choices[0].message
    usage = completion.usage
    return {
        "text": message.content or "",
        "reasoning": getattr(message, "reasoning_content", None) or "",
        "calls": [[c.id, c.function.name, json.loads(c.function.arguments)] for c in message.tool_calls or ()],
        "finish": completion.choices[0].finish_reason,
        "usage": [usage.prompt_tokens, usage.completion_tokens],
    }


def responses(order, case):
    with client_of(order, case) as client:
        asked = {**case["asked"], "extra_headers": judge.fault_header(case)}
        if not case.get("stream"):
            return responded(client.responses.create(**asked))
        ended = [event for event in client.responses.create(**asked, stream=True) if hasattr(event, "response")]
        return responded(ended[-1].response)


def responded(response):
    usage = response.usage
    items = response.output
    return {
        "text": response.output_text,
        "reasoning": "\n\n".join(part.text for item in items if item.type == "reasoning" for part in item.summary),
        "calls": [[i.call_id, i.name, json.loads(i.arguments)] for i in items if i.type == "function_call"],
        "finish": response.status,
        "usage": [usage.input_tokens, usage.output_tokens],
    }


def embeddings(order, case):
    # Strict validation looks before the vectors that it has asked for in base64 are decoded.
    with client_of(order, case, strict=False) as client:
        answer = client.embeddings.create(**case["asked"], extra_headers=judge.fault_header(case))
        return {"vectors": [row.embedding for row in answer.data], "usage": [answer.usage.prompt_tokens, 0]}


def models(order, case):
    with client_of(order, case) as client:
        return {"models": [model.id for model in client.models.list()]}


judge.run({"chat": chat, "responses": responses, "embeddings": embeddings, "models": models})
