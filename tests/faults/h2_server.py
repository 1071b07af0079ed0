"""A server of HTTP/2 over TLS on loopback that does with each stream what a script says, and remembers what it was told."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.errors
import h2.events

REFUSED = h2.errors.ErrorCodes.REFUSED_STREAM
INTERNAL = h2.errors.ErrorCodes.INTERNAL_ERROR


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, server):
        self.server = server
        self.resets = []
        self.gone = asyncio.Event()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._bodies = {}

    def connection_made(self, transport):
        self.transport = transport
        self.server.peers.append(self)
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc):
        self.gone.set()

    def data_received(self, data):
        for event in self._h2.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self._bodies[event.stream_id] = b""
                case h2.events.DataReceived():
                    self._bodies[event.stream_id] += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    self.server.requests.append(self._bodies[event.stream_id])
                    step = self.server.script[min(len(self.server.requests), len(self.server.script)) - 1]
                    step(self, event.stream_id)
                case h2.events.StreamReset():
                    self.resets.append(event.stream_id)
        self._flush()

    def head(self, stream, status=200, kind="application/json"):
        self._h2.send_headers(stream, [(":status", str(status)), ("content-type", kind)])
        self._flush()

    def say(self, stream, data, end=False):
        self._h2.send_data(stream, data, end_stream=end)
        self._flush()

    def reset(self, stream, code):
        self._h2.reset_stream(stream, code)
        self._flush()

    def go_away(self, last_stream):
        self._h2.close_connection(last_stream_id=last_stream)
        self._flush()

    def _flush(self):
        data = self._h2.data_to_send()
        if data:
            self.transport.write(data)


class Server:
    """`script`: a function of peer and stream for each request in order, the last for all that follow."""

    def __init__(self, *script):
        self.script = script
        self.peers = []
        self.requests = []

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def serving(authority, *script):
    server = Server(*script)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    listener = await asyncio.get_running_loop().create_server(lambda: Peer(server), "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.transport.abort()
        await asyncio.gather(*(peer.gone.wait() for peer in server.peers))


def answers(body):
    """A whole answer."""

    def step(peer, stream):
        peer.head(stream)
        peer.say(stream, body, end=True)

    return step


def refuses(peer, stream):
    """The stream is refused unprocessed."""
    peer.reset(stream, REFUSED)


def fails(peer, stream):
    """The stream is reset although it may have been processed."""
    peer.reset(stream, INTERNAL)


def goes_away(peer, stream):
    """The connection is to end, and this stream was not taken up."""
    peer.go_away(stream - 2 if stream > 1 else 0)
    peer.transport.close()


def breaks_inside(peer, stream):
    """The stream is reset in the middle of the body."""
    peer.head(stream)
    peer.say(stream, b"abc")
    peer.reset(stream, INTERNAL)


def stalls(peer, stream):
    """Nothing comes."""


def stalls_inside(peer, stream):
    """Nothing comes any more."""
    peer.head(stream, kind="text/event-stream")
    peer.say(stream, b"abc")
