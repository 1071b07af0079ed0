"""A provider of OpenAI's, Anthropic's and Gemini's wire that says back what it was asked, piece by piece, and fails now and then."""

import asyncio
import json
import random
import re

from aiohttp import web

_MARK = re.compile(r"CANARY-[0-9a-z-]+")
FAILURES = ("status", "cut", "event", "reset")


class EchoProvider:
    """`failing` is the share of requests that fail, saying what they were asked."""

    def __init__(self, seed, *, failing=0.2):
        self._dice, self._failing = random.Random(seed), failing

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_error):
        await self._runner.cleanup()

    async def _answer(self, request):
        text = await request.text()
        mark = _MARK.search(text)[0]
        path = request.path
        stream = '"stream":true' in text.replace(" ", "") or "stream" in path
        wire = "anthropic" if "messages" in path else "gemini" if "enerateContent" in path else "openai"
        failure = self._dice.choice(FAILURES) if self._dice.random() < self._failing else None
        if failure == "status":
            status = self._dice.choice((400, 404, 429, 500, 503))
            error = {"message": f"no {mark}", "type": "x", "code": status, "status": "X"}
            return web.json_response({"type": "error", "error": error}, status=status)
        whole, pieces, last, event = (_OPENAI, _ANTHROPIC, _GEMINI)[("openai", "anthropic", "gemini").index(wire)](mark)
        if not stream:
            return web.json_response(whole)
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for number, piece in enumerate(pieces):
            await answer.write(_frame(piece))
            await asyncio.sleep(self._dice.random() * 0.004)
            if failure == "event" and number == 3:
                await answer.write(_frame(event))
                return answer
            if failure in {"cut", "reset"} and number == 4:
                if failure == "reset":
                    request.transport.abort()
                return answer
        for piece in last:
            await answer.write(_frame(piece))
        return answer


def _frame(piece):
    if isinstance(piece, str):
        return f"data: {piece}\n\n".encode()
    named = f"event: {piece['type']}\n" if "type" in piece else ""
    return f"{named}data: {json.dumps(piece)}\n\n".encode()


def _said(mark):
    return ["you ", "said ", mark, " and ", "again ", mark, " it ", "was"]


def _OPENAI(mark):
    usage = {"prompt_tokens": 3, "completion_tokens": 8, "total_tokens": 11}
    about = {"id": "c1", "created": 1, "model": "m"}

    def chunk(delta, finish=None):
        return {
            **about,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }

    message = {"role": "assistant", "content": "".join(_said(mark))}
    whole = {
        **about,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
    pieces = [chunk({"role": "assistant"}), *(chunk({"content": word}) for word in _said(mark))]
    return (
        whole,
        pieces,
        [chunk({}, "stop"), {**chunk({}), "choices": [], "usage": usage}, "[DONE]"],
        {"error": {"message": f"broke {mark}", "code": "x"}},
    )


def _ANTHROPIC(mark):
    usage = {"input_tokens": 3, "output_tokens": 8}
    about = {"id": "m1", "type": "message", "role": "assistant", "model": "m"}
    whole = {
        **about,
        "content": [{"type": "text", "text": "".join(_said(mark))}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    start = {"type": "message_start", "message": {**about, "content": [], "stop_reason": None, "usage": usage}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in _said(mark)
    ]
    last = [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 8},
        },
        {"type": "message_stop"},
    ]
    return (
        whole,
        [start, block, *deltas],
        last,
        {"type": "error", "error": {"type": "overloaded_error", "message": f"broke {mark}"}},
    )


def _GEMINI(mark):
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 8, "totalTokenCount": 11}

    def part(text, **more):
        return {
            "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}],
            "usageMetadata": usage,
        }

    whole = part("".join(_said(mark)), finishReason="STOP")
    return (
        whole,
        [part(word) for word in _said(mark)],
        [part("", finishReason="STOP")],
        {"error": {"code": 500, "message": f"broke {mark}", "status": "INTERNAL"}},
    )
