"""Modules as their syntax trees: what they compute, and which others they import."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

# Fields of syntax trees that say nothing, or not in every version of Python.
IGNORED = ("ctx", "kind", "type_comment", "type_ignores")
EMPTY = ("Module",)  # nothing but a docstring: decides nothing


@cache
def read_module(name: str, package: Path) -> tuple[str, list[str]]:
    """The hash of a module, "" of an empty one, and the modules that it imports."""
    path = source_of(name, package)
    if path is None:
        raise ValueError(f"{package}: there is no source of the module {name!r}")
    tree = ast.parse(path.read_bytes())
    imported = [
        module
        for node in ast.walk(tree)
        for module in _imports(node, name, path, package)
    ]
    plain = _plain(tree)
    if plain == EMPTY:
        return "", imported
    return hashlib.sha256(repr(plain).encode()).hexdigest()[:16], imported


def source_of(name: str, package: Path) -> Path | None:
    """The file of a module by its name below the package; None if there is none."""
    path = package.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imports(node: ast.AST, name: str, path: Path, package: Path) -> Iterator[str]:
    """Modules of the package, by their names below it."""
    if isinstance(node, ast.Import):
        whole = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        own = f"{package.name}.{name}"
        around = own if path.name == "__init__.py" else own.rpartition(".")[0]
        base = resolve_name("." * node.level + (node.module or ""), around)
        whole = [base, *(f"{base}.{alias.name}" for alias in node.names)]
    else:
        return
    for module in whole:
        home, _, rest = module.partition(".")
        if home == package.name and rest and source_of(rest, package):
            yield rest


def _plain(node: Any) -> Any:
    """A syntax tree as nested tuples: the same in every version of Python."""
    if isinstance(node, list):
        return tuple(_plain(item) for item in node)
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.Raise):  # whether an error is raised, and of which kind
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ("Raise", _plain(kind))
    fields: list[Any] = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        if name in ("body", "orelse", "finalbody") and isinstance(value, list):
            kept = [item for item in value if not _has_no_effect(item)]
        else:
            kept = value
        if kept is not None and kept != [] and name not in IGNORED:
            fields.append((name, _plain(kept)))
    return tuple(fields)


def _has_no_effect(node: ast.AST) -> bool:
    """Whether a statement is a docstring, a log call, or made of nothing else."""
    if isinstance(node, ast.If):
        return all(map(_has_no_effect, [*node.body, *node.orelse]))
    if not isinstance(node, ast.Expr):
        return isinstance(node, ast.Pass)
    value = node.value
    if isinstance(value, ast.Constant):
        return True
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and isinstance(value.func.value, ast.Name)
        and value.func.value.id == "log"
    )
