"""The shape of the code: small files of one concept, every public name documented, nobody's machine in it."""

import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from surface import PACKAGES

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
NOT_TEXT = {".png", ".gz", ".db"}


def tracked():
    """Every file of the project that is text."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        folders = ("src", "tests", "docs", "benchmarks", "requirements")
        paths = [p for folder in folders for p in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
        paths = [p for p in paths if "__pycache__" not in p.parts]
    return [p for p in paths if p.is_file() and p.suffix not in NOT_TEXT]


def test_no_file_is_longer_than_400_lines():
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    assert [str(p.relative_to(ROOT)) for p in SOURCES if drawers & {p.stem, p.parent.name}] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package):
    module = importlib.import_module(package)
    assert inspect.getdoc(module)
    bare = []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            # An enum's or struct's own docstring, not the one it inherits.
            if not value.__doc__:
                bare.append(name)
            bare += [
                f"{name}.{m}"
                for m, member in vars(value).items()
                if _is_public(m, member) and not inspect.getdoc(getattr(value, m))
            ]
        elif inspect.isfunction(value) and not inspect.getdoc(value):
            bare.append(name)
    assert not bare


def _is_public(name, member):
    if name.startswith("_"):
        return False
    return inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_once_and_loads(package):
    module = importlib.import_module(package)
    assert len(module.__all__) == len(set(module.__all__))
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_nothing_is_left_for_later():
    words = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error"]) + r")\b")
    assert _found(words) == []


def test_nobodys_machine_is_named():
    homes = re.compile(
        "|".join(re.escape("/" + name + "/") for name in ("ho" + "me", "Us" + "ers", "ro" + "ot", "wo" + "rk"))
        + r"|[A-Z]:\\\\?Us"
    )
    assert _found(homes) == []


def _found(pattern):
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found
