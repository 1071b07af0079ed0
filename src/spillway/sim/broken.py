"""Faulty deliveries: every way in which a provider fails a request after it was admitted."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from datetime import datetime

import msgspec
from aiohttp import web

from spillway.sim.clock import WallClock, pause
from spillway.sim.delivery import open_stream, send_content, send_frames
from spillway.sim.faults import Fault, FaultKind
from spillway.sim.odd import odd_body, odd_frames
from spillway.sim.turn import Turn
from spillway.sim.wire.dialect import JSON, Refusal, Trouble

MARK = "@@simulated-fault@@"
HUGE_BYTES = 17 * 2**20
_BLOCK = b"a" * 65536
_INVALID = b"\xff\xfe\xc3"
FLUSH_S = 0.005

HTML_PAGE = (
    b"<!DOCTYPE html>\n<html>\n<head><title>502 Bad Gateway</title></head>\n"
    b"<body>\n<center><h1>502 Bad Gateway</h1></center>\n<hr><center>edge</center>\n</body>\n</html>\n"
)

_TROUBLES = {
    "429": "rate_limit",
    "429-retry-after": "rate_limit",
    "insufficient-quota": "quota",
    "500": "server",
    "503": "unavailable",
    "529": "overloaded",
    "401": "bad_key",
    "403": "forbidden",
    "content-filter": "content_filter",
    "context-length": "context_length",
}


class Breaking(msgspec.Struct, kw_only=True):
    """One faulty delivery."""

    turn: Turn
    fault: Fault
    request_id: str
    wall: WallClock
    closing: asyncio.Event
    latency_s: float
    chunk_delay_s: float

    async def send(self) -> web.StreamResponse:
        """Deliver the fault."""
        kind = self.fault.kind
        if kind in {FaultKind.REFUSAL, FaultKind.TIMED_REFUSAL}:
            await pause(self.latency_s)
            return self._refuse(self.wall())
        if kind is FaultKind.SILENT:
            return await self._stay_silent()
        self.turn.begin()
        await pause(self.latency_s)
        if kind is FaultKind.DRIP:
            return await self._drip()
        if kind is FaultKind.ODD:
            return await self._be_odd()
        return await (self._break_stream() if self.turn.stream else self._break_unary())

    def _refuse(self, wall: datetime) -> web.StreamResponse:
        turn, name = self.turn, self.fault.name
        if name == "html-error-page":
            refusal = Refusal(status=502, body=HTML_PAGE, content_type="text/html; charset=utf-8")
        else:
            wait = self.fault.argument if self.fault.kind is FaultKind.TIMED_REFUSAL else None
            trouble = Trouble(kind=_TROUBLES[name], retry_after_s=wait, model=turn.ask.model, stream=turn.stream)
            refusal = turn.dialect.refusal(trouble, self.request_id, wall)
        turn.visit.end("rejected", status=refusal.status)
        return web.Response(
            status=refusal.status, body=refusal.body, headers={**refusal.headers, "Content-Type": refusal.content_type}
        )

    async def _stay_silent(self) -> web.StreamResponse:
        if self.fault.name == "stall-before-headers":
            await self.closing.wait()
        self.turn.end("spoiled", status=0)
        reset(self.turn.request)
        return web.Response()

    async def _drip(self) -> web.StreamResponse:
        turn = self.turn
        if turn.stream:
            plan = turn.dialect.stream(turn.ask, turn.answer)
            body, response = b"".join([*plan.head, *plan.body, *plan.tail]), await open_stream(turn, plan.content_type)
        else:
            body = turn.render()
            response = await self._open_unary(len(body))
        turn.spent_output = turn.answer.output_tokens
        for at in range(len(body)):
            if at:
                await pause(self.fault.drip_s)
            await response.write(body[at : at + 1])
        await response.write_eof()
        turn.end("served")
        return response

    async def _be_odd(self) -> web.StreamResponse:
        turn = self.turn
        if turn.stream:
            plan = turn.dialect.stream(turn.ask, turn.answer)
            response = await open_stream(turn, plan.content_type)
            await send_frames(response, odd_frames([*plan.head, *plan.body, *plan.tail]))
            await response.write_eof()
        else:
            body = odd_body(turn.render())
            response = await self._open_unary(len(body))
            await response.write(body)
            await response.write_eof()
        turn.spent_output = turn.answer.output_tokens
        turn.end("served")
        return response

    async def _break_stream(self) -> web.StreamResponse:
        turn, name = self.turn, self.fault.name
        if name in {"huge-line", "invalid-utf8"}:
            self._mark()
        plan = turn.dialect.stream(turn.ask, turn.answer)
        at = min(self.fault.after_chunks, len(plan.body))
        response = await open_stream(turn, plan.content_type)
        await send_frames(response, plan.head)
        await send_content(turn, response, plan.body[:at], self.chunk_delay_s)
        rest = plan.body[at:]
        if name in {"stall-mid-stream", "reset-mid-stream"}:
            return await self._cut_off(response)
        if name == "error-event-mid-stream":
            await send_frames(response, turn.dialect.error_frames(self.request_id))
        elif name != "truncated-stream":
            struck = rest.pop(0) if rest else plan.tail.pop(0)
            await self._send_struck(response, struck)
            await send_content(turn, response, rest, self.chunk_delay_s)
            await send_frames(response, plan.tail)
        await response.write_eof()
        turn.end("spoiled")
        return response

    async def _send_struck(self, response: web.StreamResponse, frame: bytes) -> None:
        if self.fault.name == "garbage-json":
            blank = b"\r\n\r\n" if frame.endswith(b"\r\n\r\n") else b"\n\n"
            await response.write(frame[: len(frame) * 2 // 3].rstrip() + blank)
            return
        before, _, after = frame.partition(MARK.encode())
        await response.write(before)
        await self._send_filling(response)
        await response.write(after)

    async def _break_unary(self) -> web.StreamResponse:
        turn, name = self.turn, self.fault.name
        if name == "error-event-mid-stream":
            trouble = Trouble(kind="server", model=turn.ask.model)
            body = turn.dialect.refusal(trouble, self.request_id, self.wall()).body
            turn.end("spoiled")
            return web.Response(body=body, headers={**turn.headers, "Content-Type": JSON})
        if name == "garbage-json":
            body = turn.render()
            turn.end("spoiled")
            return web.Response(body=body[: len(body) * 2 // 3], headers={**turn.headers, "Content-Type": JSON})
        if name in {"huge-line", "invalid-utf8"}:
            return await self._fill_unary()
        body = turn.render()
        response = await self._open_unary(len(body))
        await response.write(body[: len(body) // 2])
        return await self._cut_off(response)

    async def _fill_unary(self) -> web.StreamResponse:
        self._mark()
        before, _, after = self.turn.render().partition(MARK.encode())
        filling = HUGE_BYTES if self.fault.name == "huge-line" else len(_INVALID)
        response = await self._open_unary(len(before) + filling + len(after))
        await response.write(before)
        await self._send_filling(response)
        await response.write(after)
        await response.write_eof()
        self.turn.end("spoiled")
        return response

    async def _send_filling(self, response: web.StreamResponse) -> None:
        if self.fault.name == "invalid-utf8":
            await response.write(_INVALID)
            return
        for _ in range(HUGE_BYTES // len(_BLOCK)):
            await response.write(_BLOCK)

    async def _cut_off(self, response: web.StreamResponse) -> web.StreamResponse:
        turn = self.turn
        if self.fault.name == "stall-mid-stream":
            await self.closing.wait()
        else:
            await pause(FLUSH_S)
        turn.end("spoiled")
        if self.fault.name == "truncated-stream":
            finish(turn.request)
        else:
            reset(turn.request)
        return response

    async def _open_unary(self, length: int) -> web.StreamResponse:
        turn = self.turn
        headers = {**turn.headers, "Content-Type": JSON, "Content-Length": str(length)}
        response = web.StreamResponse(headers=headers)
        await response.prepare(turn.request)
        return response

    def _mark(self) -> None:
        turn = self.turn
        at = min(self.fault.after_chunks, len(turn.answer.pieces))
        pieces = (*turn.answer.pieces[:at], MARK, *turn.answer.pieces[at:])
        turn.answer = msgspec.structs.replace(turn.answer, call=None, pieces=pieces)
        turn.unary = None


def reset(request: web.BaseRequest) -> None:
    """Close the connection with RST; what was written before has left."""
    transport = request.transport
    if transport is None:
        return
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        own = socket.socket(fileno=os.dup(connection.fileno()))
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        own.close()
    transport.abort()


def finish(request: web.BaseRequest) -> None:
    """Close the connection with FIN after what was written."""
    if request.transport is not None:
        request.transport.close()
