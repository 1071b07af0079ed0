"""Where a Redis may be: behind TLS and a login, at a socket, behind sentinels, in a cluster; and what is shown of it."""

import asyncio
import pathlib
import shutil
import socket
import subprocess
import time

import pytest
import redis
import trustme

import spillway
from spillway.core.clock import loop_clock
from spillway.core.errors import ConfigError
from spillway.core.options import RateLimits
from spillway.remote.rate_limit import AcquirePermit, StrictRateLimiterActor
from spillway.stores.redis import RedisStore
from spillway.stores.shared import Sharing

SOON = {"window_s": 1.0, "silent_s": 0.5}


class Servers:
    """Redis processes of one test."""

    def __init__(self, directory):
        self._directory = directory
        self._running = []

    @staticmethod
    def port():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def start(self, *words, **options):
        """Start a Redis with these lines of its file."""
        options = {"port": 0, "save": '""', "appendonly": "no", **options}
        lines = [f"{name.replace('_', '-')} {value}" for name, value in options.items()]
        return self._run([*lines, *words])

    def watch(self, master, *places):
        """Start a sentinel that replaces the master soon; `places` are its port's lines."""
        what = {"monitor": f"127.0.0.1 {master} 1", "down-after-milliseconds": 300, "failover-timeout": 2000}
        self._run([*places, *(f"sentinel {name} mymaster {value}" for name, value in what.items())], "--sentinel")

    def _run(self, lines, *more):
        home = pathlib.Path(self._directory, str(len(self._running)))
        home.mkdir()
        config = home / "redis.conf"
        config.write_text("\n".join(["bind 127.0.0.1", f"dir {home}", *lines]))
        log = (home / "log").open("ab")
        with log:
            process = subprocess.Popen([shutil.which("redis-server"), str(config), *more], stdout=log, stderr=log)
        self._running.append(process)
        return process

    def end(self):
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def servers(tmp_path):
    found = Servers(tmp_path)
    yield found
    found.end()


def until(answers, within_s=15.0):
    deadline = time.monotonic() + within_s
    while True:
        try:
            if answers():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, "no answer"
        time.sleep(0.02)


async def a_permit(store, within_s=15.0):
    """Whether a request is let through by limits in that store."""
    sharing = Sharing(store, loop_clock())
    handle = StrictRateLimiterActor(
        "n", RateLimits(requests_per_minute=9, strict=True), store=sharing.exact, key="k"
    ).handle()
    try:
        async with asyncio.timeout(within_s):
            permit = await handle.acquire(AcquirePermit())
        permit.sent()
        permit.release()
    finally:
        await sharing.aclose()
    return True


@pytest.fixture
def tls(tmp_path):
    """The lines of a server's file by which it speaks TLS."""
    ca = trustme.CA()
    cert = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    cert.private_key_pem.write_to_path(tmp_path / "key.pem")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    return [
        f"tls-cert-file {tmp_path / 'cert.pem'}",
        f"tls-key-file {tmp_path / 'key.pem'}",
        f"tls-ca-cert-file {tmp_path / 'ca.pem'}",
        "tls-auth-clients no",
    ]


async def test_tls_with_a_login_and_a_database(servers, tls, tmp_path):
    port, ca_file = servers.port(), tmp_path / "ca.pem"
    servers.start("user worker on >hunter2 ~spillway:* +@all -@dangerous +info", *tls, tls_port=port)
    client = redis.Redis("127.0.0.1", port, ssl=True, ssl_ca_certs=str(ca_file), db=3)
    until(client.ping)
    store = RedisStore(f"rediss://worker:hunter2@127.0.0.1:{port}/3?ssl_ca_certs={ca_file}", **SOON)
    assert await a_permit(store)
    assert client.dbsize() > 0
    client.close()
    assert repr(store) == f"<RedisStore rediss://127.0.0.1:{port}/3 spillway>"
    with pytest.raises(TimeoutError):
        await a_permit(RedisStore(f"rediss://worker:hunter2@127.0.0.1:{port}/3", **SOON), within_s=1.0)


async def test_a_socket(servers, tmp_path):
    path = tmp_path / "s"
    servers.start(unixsocket=path)
    with redis.Redis(unix_socket_path=str(path)) as client:
        until(client.ping)
    assert await a_permit(RedisStore(f"unix://{path}?db=1", **SOON))


async def test_scripts_run_in_a_cluster_and_each_touches_one_slot(servers):
    port = servers.port()
    servers.start(port=port, cluster_enabled="yes", cluster_port=servers.port())
    with redis.Redis(port=port) as client:
        until(client.ping)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        assert await a_permit(RedisStore(f"redis://127.0.0.1:{port}", **SOON))
        slots = {client.execute_command("CLUSTER", "KEYSLOT", key) for key in client.keys("*")}
        assert len(slots) == 1


async def test_sentinels_tell_where_the_master_is_and_where_it_went(servers):
    first, second, guard = (servers.port() for _ in range(3))
    master = servers.start(port=first)
    servers.start(f"replicaof 127.0.0.1 {first}", port=second, repl_diskless_sync_delay=0)
    with redis.Redis(port=second) as client:
        until(lambda: client.info("replication")["master_link_status"] == "up")
    servers.watch(first, f"port {guard}")
    nobody = servers.port()
    store = RedisStore(f"redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{guard}/mymaster/0", **SOON)
    with redis.Redis(port=guard) as client:
        until(lambda: client.execute_command("SENTINEL", "REPLICAS", "mymaster"))
    assert await a_permit(store)
    master.kill()
    # The new master is another life of the store: it lets nobody through until it has been up for long enough.
    assert await a_permit(store, within_s=25.0)
    with redis.Redis(port=second) as client:
        assert client.info("replication")["role"] == "master" and client.dbsize() > 0


async def test_sentinels_and_their_master_behind_tls(servers, tls, tmp_path):
    master, guard, ca_file = servers.port(), servers.port(), tmp_path / "ca.pem"
    servers.start(*tls, tls_port=master)
    servers.watch(master, "port 0", f"tls-port {guard}", "tls-replication yes", *tls)
    with redis.Redis("127.0.0.1", guard, ssl=True, ssl_ca_certs=str(ca_file)) as client:
        until(lambda: b"ok" in client.execute_command("SENTINEL", "CKQUORUM", "mymaster").lower())
    options = f"?ssl_ca_certs={ca_file}"
    assert await a_permit(RedisStore(f"rediss+sentinel://127.0.0.1:{guard}/mymaster/0{options}", **SOON))
    with pytest.raises(TimeoutError):
        await a_permit(RedisStore(f"redis+sentinel://127.0.0.1:{guard}/mymaster/0", **SOON), within_s=1.0)


@pytest.mark.parametrize(
    "url",
    [
        "redis://worker:hunter2@host:notaport/0",
        "redis://worker:hunter2@host/0?socket_timeout=hunter2",
        "redis://worker:hun/ter2@host:6379/0",
        "redis+sentinel://worker:hunter2@/mymaster/0",
        "redis+sentinel://worker:hunter2@host:hunter2/mymaster/0",
        "redis+sentinel://worker:hunter2@host:1",
        "memcached://worker:hunter2@host",
    ],
)
def test_what_is_no_url_is_refused_without_being_repeated(url):
    with pytest.raises(ConfigError) as refusal:
        RedisStore(url)
    with pytest.raises(ConfigError) as of_cluster:
        spillway.Cluster([spillway.Deployment(name="m")], store=url)
    assert "hunter2" not in f"{refusal.value} {of_cluster.value} {refusal.value.__cause__}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:p@ss@host:6379/0", "redis://host:6379/0"),
        ("rediss://host:6379/0?ssl_password=hunter2", "rediss://host:6379/0"),
        ("redis://:hunter2@host", "redis://host"),
        ("redis+sentinel://u:hunter2@a:1,b:2/m/0?sentinel_password=hunter2", "redis+sentinel://a:1,b:2/m/0"),
        ("unix://u:hunter2@/run/redis.sock?db=2", "unix:///run/redis.sock"),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert repr(RedisStore(url)) == f"<RedisStore {shown} spillway>"
