"""Keys that are looked for everywhere, and everything that an exception or an object shows of itself."""

import base64
import contextlib
import gc
import json
import logging
import pickle
import random
import sys
import traceback

import msgspec

# No digits of hexadecimal numbers, so that no id of a request or an object looks like a part of one.
_LETTERS = "GHJKLMNPQRSTUVWZghjkmnpqrstuvwz"
_MARK = "QzJ"


class Canary:
    """A key with its maker's prefix; eight characters in a row of what follows that must be seen nowhere.

    Every such eight hold the mark, which makes looking for them cheap.
    """

    def __init__(self, prefix, seed, *, in_base64=False):
        dice = random.Random(seed)
        hidden = "".join(_MARK + "".join(dice.choices(_LETTERS, k=2)) for _ in range(8))
        self._prefix, self._hidden = prefix, hidden
        # However it falls on the three bytes of a group.
        coded = (
            [base64.b64encode(("x" * skip + hidden).encode()).decode()[4:-4] for skip in range(3)] if in_base64 else ()
        )
        self._coded = [form[at : at + 8] for form in coded for at in range(len(form) - 7)]

    def reveal(self):
        return self._prefix + self._hidden

    def seen_in(self, text):
        hidden = self._hidden
        if _MARK in text and any(hidden[at : at + 8] in text for at in range(len(hidden) - 7)):
            return True
        return any(part in text for part in self._coded)

    def __repr__(self):
        return "<Canary>"


class Sieve:
    """Keeps what was shown, by whom, and tells which of it holds a part of a canary."""

    def __init__(self, *canaries):
        self.canaries = canaries
        self.looked_at = 0
        self.leaks = []
        self._known = set()

    def look(self, where, text):
        self.looked_at += 1
        text = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        if hash(text) in self._known:
            return
        self._known.add(hash(text))
        if any(canary.seen_in(text) for canary in self.canaries):
            self.leaks.append(where)

    def look_at_error(self, where, error):
        """Look at an exception, its attributes, its traceback with every frame's locals, and all that it came from."""
        left, seen = [error], set()
        while left:
            one = left.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
            name = f"{where}: {type(one).__name__}"
            self.look(f"{name} str", str(one))
            self.look(f"{name} repr", repr(one))
            self.look(f"{name} args", repr(one.args))
            self.look(f"{name} vars", repr(vars(one)) if hasattr(one, "__dict__") else "")
            self.look(f"{name} notes", repr(getattr(one, "__notes__", "")))
            for line in traceback.TracebackException(type(one), one, one.__traceback__, capture_locals=True).stack:
                for local, value in (line.locals or {}).items():
                    self.look(f"{name} local {local} of {line.name} in {line.filename}", value)
            self.look_at_pickle(name, one)

    def look_at_pickle(self, where, value):
        try:
            self.look(f"{where} pickle", pickle.dumps(value))
        except Exception as error:
            self.look(f"{where} pickle", f"{error!r}")

    def look_at_object(self, where, value):
        """Look at every form in which an object can be written down."""
        self.look(f"{where} repr", repr(value))
        self.look(f"{where} str", str(value))
        self.look(f"{where} format", f"{value}")
        if hasattr(value, "__dict__"):
            self.look(f"{where} vars", repr(vars(value)))
        for name in getattr(type(value), "__slots__", ()):
            self.look(f"{where}.{name}", repr(getattr(value, name, None)))
        self.look_at_pickle(where, value)
        for write in (msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins, json.dumps):
            try:
                self.look(f"{where} {write.__name__}", repr(write(value)))
            except Exception as error:
                self.look(f"{where} {write.__name__}", repr(error))

    def nothing_seen(self):
        assert self.looked_at > 0
        assert not self.leaks, f"{len(self.leaks)} leaks: {sorted(set(self.leaks))[:40]}"


KEYS = {"openai": Canary("sk-CANARY-", 1), "anthropic": Canary("sk-ant-CANARY-", 2), "gemini": Canary("AIzaCANARY", 3)}
BARE = Canary("", 4)
PROXY = Canary("", 5, in_base64=True)


@contextlib.contextmanager
def watching(caplog, capfd):
    """A sieve that has also looked at all logs, at the standard streams, and at what a finalizer could not raise."""
    found = Sieve(*KEYS.values(), BARE, PROXY)
    lost = []
    hook, sys.unraisablehook = sys.unraisablehook, lost.append
    caplog.set_level(logging.DEBUG)
    yield found
    sys.unraisablehook = hook
    gc.collect()
    out, err = capfd.readouterr()
    found.look("stdout", out)
    found.look("stderr", err)
    for record in caplog.records:
        found.look(f"log of {record.name}", f"{record.getMessage()} {record.args!r} {vars(record)!r}")
        if record.exc_info and record.exc_info[1] is not None:
            found.look_at_error(f"log of {record.name}", record.exc_info[1])
    for args in lost:
        found.look_at_error("finalizer", args.exc_value)
    found.nothing_seen()
