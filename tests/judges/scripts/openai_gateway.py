"""The `openai` package, unchanged, as a client of a gateway; it validates every answer strictly and retries as it does."""

import contextlib
import json
import time

import judge
import openai
import pydantic
from openai.lib.streaming.chat import ChatCompletionStreamState


class City(pydantic.BaseModel):
    city: str
    days: int


class Counted:
    """A client that counts what it sends."""

    def __init__(self, order, case):
        self.sent = 0
        options = case.get("client", {})
        self.client = openai.OpenAI(
            base_url=f"{order['url']}/v1",
            api_key=options.get("key", order["key"]),
            max_retries=options.get("max_retries", 2),
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._count]}),
            _strict_response_validation=options.get("strict", True),
        )

    def _count(self, _request):
        self.sent += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()


def chat(order, case):
    with Counted(order, case) as counted:
        completions = counted.client.chat.completions
        asked = case["asked"]
        if case.get("parse"):
            return parsed(completions, asked, stream=case.get("stream"))
        if not case.get("stream"):
            return said(completions.create(**asked), counted)
        state = ChatCompletionStreamState()
        for chunk in completions.create(**asked, stream=True, stream_options={"include_usage": True}):
            state.handle_chunk(chunk)
        return said(state.current_completion_snapshot, counted)


def parsed(completions, asked, *, stream):
    if not stream:
        message = completions.parse(**asked, response_format=City).choices[0].message
    else:
        with completions.stream(**asked, response_format=City) as events:
            message = events.get_final_completion().choices[0].message
    return {"parsed": message.parsed.model_dump() if message.parsed else None, "refusal": message.refusal}


def said(completion, counted):
    choice = completion.choices[0]
    message, usage = choice.message, completion.usage
    return {
        "text": message.content or "",
        "texts": [each.message.content for each in completion.choices],
        "roles": [each.message.role for each in completion.choices],
        "calls": [[c.id, c.function.name, json.loads(c.function.arguments)] for c in message.tool_calls or ()],
        "message": message.model_dump(exclude_none=True, exclude={"parsed"}),
        "finish": choice.finish_reason,
        "logprobs": None if choice.logprobs is None else [each.token for each in choice.logprobs.content or ()],
        "refusal": message.refusal,
        "usage": [usage.prompt_tokens, usage.completion_tokens],
        "sent": counted.sent,
    }


def chunks(order, case):
    """A stream as its raw chunks."""
    with Counted(order, case) as counted:
        return {"chunks": [each.to_dict() for each in counted.client.chat.completions.create(**case["asked"])]}


def responses(order, case):
    with Counted(order, case) as counted:
        resource = counted.client.responses
        asked = case["asked"]
        if case.get("parse"):
            return {"parsed": resource.parse(**asked, text_format=City).output_parsed.model_dump()}
        if not case.get("stream"):
            return responded(resource.create(**asked), counted)
        if case.get("by_hand"):
            return responded(list(resource.create(**asked, stream=True))[-1].response, counted)
        with resource.stream(**asked) as stream:
            for _ in stream:
                pass
            return responded(stream.get_final_response(), counted)


def responded(response, counted):
    usage, items = response.usage, response.output
    return {
        "text": response.output_text,
        "calls": [[i.call_id, i.name, json.loads(i.arguments)] for i in items if i.type == "function_call"],
        "items": [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in items],
        "status": response.status,
        "usage": [usage.input_tokens, usage.output_tokens],
        "sent": counted.sent,
    }


def loop(order, case):
    """The loop of tools by the package's own objects: what came goes back as it came, with a result for each call."""
    with Counted(order, case) as counted:
        asked = dict(case["asked"])
        if case["api"] == "chat":
            first = counted.client.chat.completions.create(**asked).choices[0].message
            calls = first.tool_calls
            asked["messages"] = [
                *asked["messages"],
                first,
                *({"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls),
            ]
            text = counted.client.chat.completions.create(**asked).choices[0].message.content
        else:
            first = counted.client.responses.create(**asked)
            calls = [item for item in first.output if item.type == "function_call"]
            results = [{"type": "function_call_output", "call_id": c.call_id, "output": "sunny"} for c in calls]
            asked["input"] = [{"role": "user", "content": asked["input"]}, *first.output, *results]
            text = counted.client.responses.create(**asked).output_text
        return {"names": [getattr(c, "name", None) or c.function.name for c in calls], "text": text}


def embeddings(order, case):
    # Strict validation looks before the vectors that it has asked for in base64 are decoded.
    with Counted(order, {**case, "client": {"strict": False}}) as counted:
        answer = counted.client.embeddings.create(**case["asked"])
        vectors = [row.embedding for row in answer.data]
        return {"lengths": [len(vector) for vector in vectors], "first": vectors[0][:3], "count": len(vectors)}


def models(order, case):
    with Counted(order, case) as counted:
        return {
            "models": [model.id for model in counted.client.models.list()],
            "one": counted.client.models.retrieve(case["asked"]["model"]).id,
        }


def failing(order, case):
    """What the package raises, what it had read by then, and how often it asked."""
    with Counted(order, case) as counted:
        api = {"chat": counted.client.chat.completions, "responses": counted.client.responses}.get(case.get("api"))
        read, started = 0, time.monotonic()
        try:
            if case.get("api") == "models":
                counted.client.models.retrieve(case["asked"]["model"])
            else:
                if case.get("after_another"):
                    with contextlib.suppress(openai.APIError):
                        counted.client.with_options(max_retries=0).chat.completions.create(**case["asked"])
                    counted.sent = 0
                answer = api.create(**case["asked"])
                for _ in answer if case["asked"].get("stream") else ():
                    read += 1
        except openai.APIError as error:
            response = getattr(error, "response", None)
            return {
                "classes": [kind.__name__ for kind in type(error).__mro__],
                "status": getattr(error, "status_code", None),
                "code": error.code,
                "type": error.type,
                "message": error.message,
                "headers": {} if response is None else dict(response.headers),
                "sent": counted.sent,
                "read": read,
                "elapsed_s": time.monotonic() - started,
            }
        return {"sent": counted.sent, "read": read, "elapsed_s": time.monotonic() - started}


judge.run(
    {
        "chat": chat,
        "chunks": chunks,
        "responses": responses,
        "loop": loop,
        "embeddings": embeddings,
        "models": models,
        "failing": failing,
    }
)
