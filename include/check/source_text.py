"""A module of a package as its source text says, without importing it: names, functions, imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One name that a module imports: from where, and on which line."""

    module: str
    name: str
    line: int
    at_start: bool

    @property
    def top(self) -> str:
        """The distribution's own package."""
        return self.module.partition(".")[0]


@dataclass(frozen=True)
class Signature:
    """How a function is called."""

    line: int
    names: tuple[str, ...]
    required: int
    any_number: bool
    keywords_required: tuple[str, ...]

    def takes(self, count: int) -> bool:
        """Whether it can be called with this many positional arguments."""
        return self.required <= count and (self.any_number or count <= len(self.names)) and not self.keywords_required


@dataclass(frozen=True)
class SourceText:
    """A module's top level."""

    bound: frozenset[str]
    functions: dict[str, Signature]
    imports: tuple[Import, ...]
    open_ended: bool
    """It imports `*`, or creates names in ways that are not visible here."""

    @classmethod
    def read(cls, path: Path, package: str) -> SourceText:
        """What a file says; `SyntaxError` (also for bytes that are no text) names its line."""
        try:
            tree = ast.parse(path.read_bytes(), str(path))
        except ValueError as error:  # a NUL, a wrong encoding
            raise SyntaxError(str(error), (str(path), 1, 0, "")) from None
        imports = tuple(_imports(tree, package))
        return cls(
            bound=frozenset(_bound(tree.body)),
            functions={
                node.name: _signature(node)
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node in tree.body
            },
            imports=imports,
            open_ended=any(one.name == "*" for one in imports) or "__getattr__" in _bound(tree.body),
        )


def _imports(tree: ast.Module, package: str) -> Iterator[Import]:
    for node in ast.walk(tree):
        at_start = node in tree.body
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", node.lineno, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (Import(module, alias.name, node.lineno, at_start) for alias in node.names)


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    """The names that statements bind, in branches too."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        else:
            for part in ast.iter_child_nodes(node):
                yield from (name.id for name in ast.walk(part) if isinstance(name, ast.Name))
            yield from _bound([each for each in ast.walk(node) if isinstance(each, ast.stmt) and each is not node])


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Signature:
    positional = [*node.args.posonlyargs, *node.args.args]
    needed = [
        one.arg for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if default is None
    ]
    return Signature(
        node.lineno,
        tuple(one.arg for one in positional),
        len(positional) - len(node.args.defaults),
        node.args.vararg is not None,
        tuple(needed),
    )


def file_of(module: str) -> Path | None:
    """The file of a module's source, or None. Neither the module nor a package above it is run."""
    folders: list[str] | None = None
    found = None
    for depth in range(1, module.count(".") + 2):
        found = PathFinder.find_spec(".".join(module.split(".")[:depth]), folders)
        if found is None:
            return None
        folders = list(found.submodule_search_locations or [])
    origin = found.origin if found else None
    return Path(origin) if origin and origin.endswith(".py") else None


def is_there(module: str) -> bool:
    """Whether a module can be found; packages above it are imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
