"""The commands' client: where it goes, what it shows, and one line for whatever goes wrong."""

import contextlib
import http.server
import json
import threading

import pytest

from spillway.cli.admin_client import AdminClient, AdminError, admin_client, segment, url_of
from spillway.core.errors import ConfigError
from spillway.core.secrets import Secret
from spillway.runtime.project import GatewaySettings

FILE = """
[gateway]
bind = "0.0.0.0:{port}"
{admin}
[[deployment]]
name = "gpt-4o-mini"
"""


@contextlib.contextmanager
def answering(status=200, body=b'{"ok": true}'):
    """A server that gives every request one answer, and keeps what it was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("content-length", 0))
            asked.append((self.command, self.path, self.headers.get("authorization"), self.rfile.read(length)))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(message):
    return json.dumps({"error": {"message": message}}).encode()


def test_it_asks_and_tells_with_the_key():
    with answering() as (port, asked):
        client = AdminClient(f"http://127.0.0.1:{port}/", Secret("admin-key"))
        assert client.get("/admin/costs", {"by": "day"}) == {"ok": True}
        assert client.post(f"/admin/deployments/{segment('a/b c')}/drain", {"for_s": 3}) == {"ok": True}
    assert asked[0] == ("GET", "/admin/costs?by=day", "Bearer admin-key", b"")
    assert asked[1] == ("POST", "/admin/deployments/a%2Fb%20c/drain", "Bearer admin-key", b'{"for_s": 3}')


def test_url_and_key_come_from_the_project_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPILLWAY_ADMIN_KEY", "from-environment")
    with answering() as (port, asked):
        (tmp_path / "spillway.toml").write_text(FILE.format(port=port, admin='admin_key = {inline = "from-file"}'))
        admin_client().get("/a")
        (tmp_path / "spillway.toml").write_text(FILE.format(port=port, admin=""))
        admin_client().get("/b")
        (tmp_path / "spillway.toml").unlink()
        admin_client(f"http://127.0.0.1:{port}").get("/c")
        monkeypatch.delenv("SPILLWAY_ADMIN_KEY")
        admin_client(f"http://127.0.0.1:{port}").get("/d")
    assert [shown for _, _, shown, _ in asked] == [
        "Bearer from-file", "Bearer from-environment", "Bearer from-environment", None,
    ]  # fmt: skip


def test_without_file_and_url_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^no --url was given, and no spillway\.toml here"):
        admin_client()


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("0.0.0.0:1", "http://127.0.0.1:1"),
        ("[::]:2", "http://[::1]:2"),
        ("127.0.0.1:3", "http://127.0.0.1:3"),
        ("gate.example:4", "http://gate.example:4"),
    ],
)
def test_an_address_of_all_interfaces_is_asked_at_loopback(bind, url):
    assert url_of(GatewaySettings(bind=bind)) == url


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://a", "http://", "http://a:x", "http://u:p@a", "http://a:99999"]
)
def test_a_wrong_url_is_told_without_being_echoed(url):
    with pytest.raises(ConfigError, match=r"^--url must be http://HOST:PORT or https://HOST:PORT$"):
        AdminClient(url, None)


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (401, refusal("the admin key is not valid"), ConfigError, "refuses: the admin key is not valid (it stands in"),
        (404, refusal("no deployment 'x'"), ConfigError, "no deployment 'x'"),
        (503, refusal("not now"), AdminError, "not now"),
        (500, b"{}", AdminError, "status 500"),
        (200, b"<html>", AdminError, "answers 200 and no JSON; is it a Spillway gateway?"),
    ],
)
def test_what_the_gateway_refuses_is_one_line(status, body, error, said):
    with answering(status, body) as (port, _), pytest.raises(error) as caught:
        AdminClient(f"http://127.0.0.1:{port}", Secret("admin-key")).get("/admin/costs")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "admin-key" not in str(caught.value)


def test_nobody_there_is_one_line():
    with answering() as (port, _):
        pass
    with pytest.raises(AdminError, match=rf"^no gateway at http://127\.0\.0\.1:{port}: Connection refused$"):
        AdminClient(f"http://127.0.0.1:{port}", None).get("/admin/costs")
