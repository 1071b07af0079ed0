"""The `google-genai` package as a judge of Gemini's wire, on AI Studio and on Vertex."""

import judge
from google import genai
from google.auth.credentials import Credentials
from google.genai import types


class Given(Credentials):
    """A credential that nobody has to be asked for."""

    def __init__(self, token):
        super().__init__()
        self.token = token

    @property
    def expired(self):
        return False

    @property
    def valid(self):
        return True

    def refresh(self, request):
        raise AssertionError("there is nobody to ask")


def client_of(order, case):
    fault = judge.fault_header(case)
    if case["where"] == "vertex":
        where = types.HttpOptions(base_url=order["url"], api_version="v1", headers=fault)
        return genai.Client(
            vertexai=True, project="p", location="europe-west1", credentials=Given(order["key"]), http_options=where
        )
    where = types.HttpOptions(base_url=order["url"], api_version="v1beta", headers=fault)
    return genai.Client(api_key=order["key"], http_options=where)


def generate(order, case):
    with client_of(order, case) as client:
        asked = {**case["asked"], "config": types.GenerateContentConfig(**case["asked"].get("config", {}))}
        if not case.get("stream"):
            return said([client.models.generate_content(**asked)])
        return said(list(client.models.generate_content_stream(**asked)))


def said(responses):
    parts = [
        part
        for response in responses
        for candidate in response.candidates or ()
        for part in (candidate.content and candidate.content.parts) or ()
    ]
    used = responses[-1].usage_metadata
    finishes = [c.finish_reason for response in responses for c in response.candidates or () if c.finish_reason]
    return {
        "text": "".join(part.text for part in parts if part.text and not part.thought),
        "reasoning": "".join(part.text for part in parts if part.text and part.thought),
        "calls": [
            [part.function_call.id, part.function_call.name, part.function_call.args]
            for part in parts
            if part.function_call
        ],
        "finish": finishes[-1].value if finishes else None,
        "usage": [
            (used.prompt_token_count or 0) + (used.tool_use_prompt_token_count or 0),
            (used.candidates_token_count or 0) + (used.thoughts_token_count or 0),
        ],
    }


def embed(order, case):
    with client_of(order, case) as client:
        answer = client.models.embed_content(**case["asked"])
        return {"vectors": [embedding.values for embedding in answer.embeddings]}


def count(order, case):
    with client_of(order, case) as client:
        return {"counted": client.models.count_tokens(**case["asked"]).total_tokens}


judge.run({"generate": generate, "embed": embed, "count": count})
