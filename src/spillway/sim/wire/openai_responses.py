"""OpenAI's Responses API, at OpenAI and at Azure: items instead of choices, named events instead of chunks."""

from __future__ import annotations

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask, decode_object
from spillway.sim.wire import openai_errors, openai_other, openai_responses_ask
from spillway.sim.wire.azure import AzureDialect
from spillway.sim.wire.dialect import Route, StreamPlan, json_bytes, named_sse
from spillway.sim.wire.openai import OpenAiDialect
from spillway.sim.wire.openai_items import Script, items_of, response_of


class ResponsesDialect(OpenAiDialect):
    """The same provider, asked for responses."""

    def read(self, raw: bytes, route: Route) -> Ask:
        """Read a request for a response; raises `BadAsk`."""
        return openai_responses_ask.read(decode_object(raw), route, self.name)

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a `response`."""
        return json_bytes(response_of(ask, answer, items_of(ask, answer)))

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write events: created, in progress, what each item adds piece by piece, and the whole at the end."""
        script = Script()
        opening = response_of(ask, answer, [], status="in_progress")
        head = [
            script.event("response.created", response=opening),
            script.event("response.in_progress", response=opening),
        ]
        items = items_of(ask, answer)
        for at, item in enumerate(items):
            script.play(at, item, answer)
        whole = response_of(ask, answer, items)
        tail = [*script.rest(), script.event(f"response.{whole['status']}", response=whole)]
        return StreamPlan(head=head, body=script.body, tail=tail)

    def error_frames(self, request_id: str) -> list[bytes]:
        """Return the flat event `error`, after which the stream ends."""
        del request_id
        said = openai_errors.server_error()["error"]
        return [
            named_sse(
                "error",
                {
                    "type": "error",
                    "sequence_number": 0,
                    "code": "server_error",
                    "message": said["message"],
                    "param": None,
                },
            )
        ]

    def other(self, raw: bytes, route: Route) -> tuple[Ask, bytes]:
        """Count the tokens of a request, which costs nothing."""
        if route.action != "count":
            return openai_other.embeddings(self.name, raw, route)
        ask = openai_responses_ask.read(decode_object(raw), route, self.name)
        counted = {"object": "response.input_tokens", "input_tokens": ask.input_tokens}
        return ask, json_bytes(counted)


class AzureResponsesDialect(ResponsesDialect, AzureDialect):
    """Azure, asked for responses: its keys, headers and refusals, OpenAI's items and events."""
