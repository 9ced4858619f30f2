"""What a use case's code says, as a hash: what was made by other code is made again."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


def fingerprint(package: str, *modules: str) -> str:
    """A hash of the sources of a package's modules and of those modules of the package that they import."""
    sources: dict[str, bytes] = {}
    waiting = [f"{package}.{module}" for module in modules]
    while waiting:
        name = waiting.pop()
        if name not in sources:
            sources[name] = _source(name)
            waiting += [found for found in _imports(sources[name]) if found.startswith(f"{package}.")]
    content = b"".join(name.encode() + b"\0" + source + b"\0" for name, source in sorted(sources.items()))
    return hashlib.sha256(content).hexdigest()


def _source(name: str) -> bytes:
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no module {name}", name=name)
    return Path(found.origin).read_bytes()


def _imports(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
