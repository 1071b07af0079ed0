"""Whole answers: a unary body in one write, a stream in one write for each chunk."""

from __future__ import annotations

from aiohttp import web

from spillway.sim.clock import pause
from spillway.sim.turn import Turn
from spillway.sim.wire.dialect import JSON

BREATH = 64


async def send_unary(turn: Turn) -> web.StreamResponse:
    """Send the whole answer at once."""
    response = web.Response(body=turn.render(), headers={**turn.headers, "Content-Type": JSON})
    await response.prepare(turn.request)
    await response.write_eof()
    turn.end("served")
    return response


async def open_stream(turn: Turn, content_type: str) -> web.StreamResponse:
    """Send the headers of a stream."""
    response = web.StreamResponse(headers={**turn.headers, "Content-Type": content_type, "Cache-Control": "no-cache"})
    await response.prepare(turn.request)
    return response


async def send_frames(response: web.StreamResponse, frames: list[bytes]) -> None:
    """Send frames that carry no output, each in a write of its own."""
    for frame in frames:
        await response.write(frame)


async def send_content(turn: Turn, response: web.StreamResponse, frames: list[bytes], chunk_delay_s: float) -> None:
    """Send content, counting each frame as one token of output."""
    for at, frame in enumerate(frames):
        if chunk_delay_s > 0 and turn.spent_output:
            await pause(chunk_delay_s)
        elif at % BREATH == BREATH - 1:
            await pause(0)
        await response.write(frame)
        turn.spent_output = min((turn.spent_output or 0) + 1, turn.answer.output_tokens)


async def send_stream(turn: Turn, chunk_delay_s: float) -> web.StreamResponse:
    """Send the whole answer as a stream."""
    plan = turn.dialect.stream(turn.ask, turn.answer)
    response = await open_stream(turn, plan.content_type)
    await send_frames(response, plan.head)
    await send_content(turn, response, plan.body, chunk_delay_s)
    turn.spent_output = turn.answer.output_tokens
    await send_frames(response, plan.tail)
    await response.write_eof()
    turn.end("served")
    return response
