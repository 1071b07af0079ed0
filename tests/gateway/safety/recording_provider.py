"""A provider as a program: answers every wire with one sentence, and tells at `/kept` what it was sent."""

import http.server
import json

ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}  # fmt: skip
CLAUDE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hello"}], "usage": {"input_tokens": 3, "output_tokens": 1},
}  # fmt: skip
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
}
VECTORS = {
    "object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}  # fmt: skip


kept, answer, pours = [], {}, []


def wire(path):
    if "messages" in path:
        body = CLAUDE if "count_tokens" not in path else {"input_tokens": 3}
    elif "generateContent" in path:
        body = GEMINI
    else:
        body = VECTORS if "embeddings" in path else ANSWER
    return json.dumps(body)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.say(200, {}, json.dumps(pours if self.path == "/poured" else kept))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        if body.get("stream") and "endless" in json.dumps(body):
            self.pour()
            return
        if self.path == "/answer-with":
            answer.clear()
            answer.update(body)
            self.say(200, {}, "")
            return
        kept.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        text = answer.get("body")
        headers = {"content-type": "application/json", **answer.get("headers", {})}
        self.say(answer.get("status", 200), headers, wire(self.path) if text is None else text)

    def pour(self):
        """Stream until the other side is gone, and keep how much it took and for how long."""
        poured = {"bytes": 0, "over": False}
        pours.append(poured)
        piece = {
            **ANSWER,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": "x" * 4000}}],
        }
        data = b"data: " + json.dumps(piece).encode() + b"\n\n"
        self.send_response_only(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(data)
                poured["bytes"] += len(data)
        except OSError:
            poured["over"] = True

    def say(self, status, headers, text):
        data = text.encode()
        self.send_response_only(status)
        for name, value in {**headers, "content-length": len(data)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
