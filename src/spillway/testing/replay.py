"""Cassettes: what was said to a provider once, recorded in a file, and said again without a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from spillway.core.secrets import Secret
from spillway.remote.http import layer
from spillway.testing.record import Recorder
from spillway.testing.record_scrub import Scrubber
from spillway.testing.replay_client import Replay
from spillway.testing.replay_file import load, save
from spillway.testing.replay_match import VOLATILE, Match, matcher

Mode = Literal["auto", "record", "replay"]


class Cassette:
    """Records exchanges with providers to a file, or answers from it; a context manager.

    Inside the block every provider's runner of this process goes through it, whichever Cluster it belongs to; the code
    under test is not changed. The real wire code runs: what is recorded is what the HTTP client sent and received.
    While it replays nothing goes out, and no credential is looked for.

    Args:
        path: the file, JSON Lines.
        mode: `record` writes it anew; `replay` answers from it and sends nothing; `auto` replays a file that there is
            and records one that there is not.
        secrets: values to be masked wherever they stand, beside the credentials that requests are sent with.
        ignore: fields at the top of a request's body that are not compared.
        match: `match(recorded, asked)`, instead of the comparison of method, path and body.
        keep_headers: response headers to record beside those that clients read (content type, limits, request ids).
        times: record when each piece came, and replay at that pace.

    Order: of the recorded exchanges that match a request the first that was not used yet answers it, once.
    Invariants: a recording is written when the block ends, whole, and not if it ends in an exception.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        mode: Mode = "auto",
        secrets: Iterable[Secret | str] = (),
        ignore: Iterable[str] = VOLATILE,
        match: Match | None = None,
        keep_headers: Iterable[str] = (),
        times: bool = False,
    ) -> None:
        if mode not in {"auto", "record", "replay"}:
            raise ValueError(f"mode must be one of auto, record, replay, not {mode!r}")
        self.path = Path(path)
        self._mode = mode
        self._secrets = [Secret(each) if isinstance(each, str) else each for each in secrets]
        self._ignore = frozenset(ignore)
        self._match = match or matcher(self._ignore)
        self._keep = [name.lower() for name in keep_headers]
        self._times = times
        self._playing: Recorder | Replay | None = None
        self._open = False

    def __enter__(self) -> Self:
        """Record or replay from now on.

        Raises:
            ConfigError: the file can't be replayed: it is not there, of a later version, or no cassette.
            RuntimeError: another cassette plays in this process.
        """
        scrubber = Scrubber(secret.reveal() for secret in self._secrets)
        playing: Recorder | Replay
        if self._mode == "record" or (self._mode == "auto" and not self.path.exists()):
            playing = Recorder(self.path, scrubber, self._keep, times=self._times)
        else:
            playing = Replay(
                self.path, load(self.path), scrubber, match=self._match, ignore=self._ignore, times=self._times
            )
        layer.put(playing)
        self._playing = playing
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write what was recorded; a Cluster that is used after this sends nothing more."""
        playing = self._playing
        self._open = False
        if playing is None:
            return
        layer.take_away(playing)
        playing.closed = True
        if isinstance(playing, Recorder) and kind is None:
            save(self.path, playing.written())

    @property
    def recording(self) -> bool:
        """Whether it records; False while it replays, and outside of its block."""
        return self._open and isinstance(self._playing, Recorder)

    @property
    def unused(self) -> int:
        """How many recorded exchanges no request of this replay has used yet; 0 of a recording."""
        return len(self._playing.unused) if isinstance(self._playing, Replay) else 0

    @property
    def misses(self) -> list[str]:
        """A line for each request of this replay that nothing recorded answered."""
        return list(self._playing.misses) if isinstance(self._playing, Replay) else []

    def __repr__(self) -> str:
        return f"<Cassette {self.path.name} {self._playing!r}>" if self._open else f"<Cassette {self.path.name} closed>"
