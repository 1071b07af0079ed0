"""One small Ray on loopback for all tests of this folder, in processes of its own."""

import os
import secrets
import subprocess
import sys
import tempfile

SERVE = """
import sys
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False,
         _node_ip_address="127.0.0.2", _temp_dir=sys.argv[1], logging_level="ERROR")
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""

QUIET = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RayServer:
    """It ends with the process that has started it."""

    def __init__(self):
        # Short, for the sockets in it have paths of at most 107 bytes.
        self.folder = tempfile.TemporaryDirectory(prefix="sw", dir="/tmp", ignore_cleanup_errors=True)
        self.errors = tempfile.TemporaryFile()
        self.popen = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVE, self.folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **QUIET},
        )
        self.address = self.popen.stdout.readline().decode().strip()
        if not self.address:
            self.popen.wait()
            self.errors.seek(0)
            raise RuntimeError(self.errors.read().decode())

    def close(self):
        self.popen.stdin.close()
        self.popen.wait(30)
        self.popen.stdout.close()
        self.errors.close()
        self.folder.cleanup()


def processes_of(server, kind):
    """Process ids of the actors of a class on this server."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    title = file.read()
                with open(f"/proc/{entry}/stat") as file:
                    parent = file.read().rpartition(")")[2].split()[1]
                with open(f"/proc/{parent}/cmdline", "rb") as file:
                    started_by = file.read()
            except OSError:
                continue
            if title.startswith(f"ray::{kind}".encode()) and server.folder.name.encode() in started_by:
                found.append(int(entry))
    return found
