"""Four processes that share a Redis, killed and paused at will, and the log that all of them write to."""

import pathlib
import signal
import subprocess
import sys
import time


class Nodes:
    """Four processes of a script of this folder, which is given `words` and the path of a log."""

    def __init__(self, script, *words, log):
        self._argv = [sys.executable, pathlib.Path(__file__).with_name(script), *map(str, words), log]
        self._log = log
        self._log.touch()
        self.living = [self._start() for _ in range(4)]

    def _start(self):
        return subprocess.Popen(self._argv)

    def replace(self, at):
        """Kill one and start another."""
        self.living[at].kill()
        self.living[at].wait()
        self.living[at] = self._start()

    def pause(self, at, seconds):
        """Stop one for some time."""
        self.living[at].send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.living[at].send_signal(signal.SIGCONT)

    def logged(self):
        """What was written down, by any of all that have lived."""
        return self._log.read_text().split()

    def end(self):
        """Kill all."""
        for process in self.living:
            process.kill()
            process.wait()


class Senders(Nodes):
    """Four processes that send as fast as they are let, and write down when."""

    def __init__(self, server, directory, *, strict, window_s, sync_s=1.0, silent_s, limit):
        words = server.url, server.name(), int(strict), window_s, sync_s, silent_s, limit
        super().__init__("limited_node.py", *words, log=pathlib.Path(directory, "sent"))

    def sent(self, after=0.0, until=float("inf")):
        """When requests were sent."""
        return [at for at in map(float, self.logged()) if after < at <= until]

    def wait_for(self, count, *, after=0.0, within_s=20.0):
        """Return when so many were sent, once they are."""
        deadline = time.monotonic() + within_s
        while len(found := self.sent(after)) < count:
            assert time.monotonic() < deadline, f"{len(found)} sent of {count}"
            time.sleep(0.05)
        return found
