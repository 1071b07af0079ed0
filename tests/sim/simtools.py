"""Raw questions in every dialect, and readers of their answers that share nothing with the simulator or the library."""

import json

KEY = "sk-sim-one"


def openai(prompt, *, stream=False, limit=None, **extra):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **extra}
    if limit:
        body["max_completion_tokens"] = limit
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def anthropic(prompt, *, stream=False, limit=None, **extra):
    body = {
        "model": "claude-haiku-4-5",
        "max_tokens": limit or 1000,
        "messages": [{"role": "user", "content": prompt}],
        **extra,
    }
    return body | ({"stream": True} if stream else {})


def gemini(prompt, *, stream=False, limit=None, **extra):
    body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}], **extra}
    return body | ({"generationConfig": {"maxOutputTokens": limit}} if limit else {})


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


GEMINI = "/v1beta/models/gemini-2.5-flash:"
VERTEX = "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-flash:"
CALLS = {
    "openai": ("/v1/chat/completions", bearer, openai),
    "azure": ("/openai/deployments/gpt-4o/chat/completions", lambda key: {"api-key": key}, openai),
    "azure-v1": ("/openai/v1/chat/completions", bearer, openai),
    "litellm": ("/litellm/v1/chat/completions", bearer, openai),
    "anthropic": ("/v1/messages", lambda key: {"x-api-key": key}, anthropic),
    "gemini": (GEMINI, lambda key: {"x-goog-api-key": key}, gemini),
    "vertex": (VERTEX, bearer, gemini),
}


class Reply:
    def __init__(self, status, headers, raw):
        self.status, self.headers, self.raw = status, headers, raw

    @property
    def json(self):
        return json.loads(self.raw)

    @property
    def events(self):
        """The data of each event, parsed; strict about the framing the simulator promises."""
        text = self.raw.decode().replace("\r\n", "\n")
        assert text.endswith("\n\n")
        found = []
        for block in text[:-2].split("\n\n"):
            (data,) = [line for line in block.split("\n") if line.startswith("data: ")]
            found.append(data[6:] if data == "data: [DONE]" else json.loads(data[6:]))
        return found


class Asker:
    def __init__(self, simulator, session):
        self.simulator, self.session = simulator, session

    def post(self, dialect, prompt="hello", *, stream=False, fault=None, key=KEY, limit=None, **extra):
        path, auth, build = CALLS[dialect]
        if dialect in {"gemini", "vertex"}:
            path += "streamGenerateContent?alt=sse" if stream else "generateContent"
        headers = auth(key) | ({"x-sim-fault": fault} if fault else {})
        body = build(prompt, stream=stream, limit=limit, **extra)
        return self.session.post(self.simulator.url + path, json=body, headers=headers)

    async def ask(self, dialect, prompt="hello", **options):
        async with self.post(dialect, prompt, **options) as response:
            return Reply(response.status, response.headers, await response.read())


def unary_text(dialect, body):
    if dialect == "anthropic":
        return "".join(block["text"] for block in body["content"])
    if dialect in {"gemini", "vertex"}:
        return "".join(part["text"] for part in body["candidates"][0]["content"]["parts"])
    return body["choices"][0]["message"]["content"]


def unary_usage(dialect, body):
    if dialect == "anthropic":
        return body["usage"]["input_tokens"], body["usage"]["output_tokens"]
    if dialect in {"gemini", "vertex"}:
        usage = body["usageMetadata"]
        return usage["promptTokenCount"], usage["candidatesTokenCount"]
    return body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]


def unary_finish(dialect, body):
    if dialect == "anthropic":
        return body["stop_reason"]
    if dialect in {"gemini", "vertex"}:
        return body["candidates"][0]["finishReason"]
    return body["choices"][0]["finish_reason"]


def stream_text(dialect, events):
    if dialect == "anthropic":
        return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    if dialect in {"gemini", "vertex"}:
        return "".join(part["text"] for event in events for part in event["candidates"][0]["content"]["parts"])
    return "".join(
        choice["delta"].get("content") or "" for event in events if event != "[DONE]" for choice in event["choices"]
    )


def stream_usage(dialect, events):
    if dialect == "anthropic":
        (start,) = [event for event in events if event["type"] == "message_start"]
        (delta,) = [event for event in events if event["type"] == "message_delta"]
        return start["message"]["usage"]["input_tokens"], delta["usage"]["output_tokens"]
    if dialect in {"gemini", "vertex"}:
        return unary_usage(dialect, events[-1])
    return unary_usage(dialect, events[-2])


def stream_finish(dialect, events):
    if dialect == "anthropic":
        return next(event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta")
    if dialect in {"gemini", "vertex"}:
        return unary_finish(dialect, events[-1])
    reasons = [choice["finish_reason"] for event in events if event != "[DONE]" for choice in event["choices"]]
    return reasons[-1]
