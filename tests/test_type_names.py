"""A type's name means one thing in the whole package."""

import ast
from collections import defaultdict
from pathlib import Path

import fedmeta

PACKAGE = Path(fedmeta.__file__).parent


def types_of(path: Path) -> set[str]:
    """Public classes of a module, and its names of types."""
    found = set()
    for line in ast.parse(path.read_text()).body:
        match line:
            case ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
    return {name for name in found if name[0].isupper() and not name.isupper()}


def test_no_two_types_have_one_name() -> None:
    modules = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for name in types_of(path):
            modules[name].append(str(path.relative_to(PACKAGE)))
    assert len(modules) > 100
    twice = {name: found for name, found in modules.items() if len(found) > 1}
    assert twice == {}
