"""The exported surface in words: `python tests/house/surface.py` writes api.txt, the test compares with it."""

import importlib
import inspect
import pathlib
import re

PACKAGES = ("spillway", "spillway.providers", "spillway.remote", "spillway.testing", "spillway.sim")
API = pathlib.Path(__file__).parents[2] / "api.txt"


def _signature(value):
    try:
        text = str(inspect.signature(value)).replace("'", "")
    except (TypeError, ValueError):
        return ""
    return re.sub(r"<function (\S+) at 0x[0-9a-f]+>", r"\1", text)


def _class_lines(path, cls):
    fields = getattr(cls, "__struct_fields__", None)
    if fields is not None:
        yield f"{path}({', '.join(fields)})"
    elif issubclass(cls, BaseException):
        yield f"{path}  # {getattr(cls, 'code', '')}"
    elif issubclass(cls, (int, str)):
        yield f"{path}: {', '.join(m.name for m in cls)}" if hasattr(cls, "__members__") else path
    else:
        yield f"{path}{_signature(cls)}"
    ours = [each for each in reversed(cls.__mro__) if each is cls or each.__module__ == "spillway.runtime.asking"]
    for name, member in sorted({name: member for each in ours for name, member in vars(each).items()}.items()):
        if name.startswith("_") or name in (fields or ()):
            continue
        if isinstance(member, property):
            yield f"  .{name}"
        elif inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod)):
            yield f"  .{name}{_signature(getattr(cls, name))}"


def lines():
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in sorted(module.__all__):
            value = getattr(module, name)
            path = f"{package}.{name}"
            if inspect.isclass(value):
                yield from _class_lines(path, value)
            elif callable(value):
                yield f"{path}{_signature(value)}"
            else:
                yield path


if __name__ == "__main__":
    API.write_text("\n".join(lines()) + "\n")
