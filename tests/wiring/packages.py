"""Packages of third parties, installed as pip would: a module, and a dist-info that names its entry points."""

import itertools
import sys

_numbers = itertools.count()


def install(folder, group, points, **modules):
    """Write modules and their entry points into `folder`, which is to be on the path; returns it.

    Args:
        points: the text after the `=`, by name.
        modules: source by module name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in modules.items():
        sys.modules.pop(name, None)
        (folder / f"{name}.py").write_text(source)
    info = folder / f"made_up_{next(_numbers)}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {info.name.partition('-')[0]}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
