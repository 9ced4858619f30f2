"""What a use case's code says, as a hash: what was made by other code is made again.

A module reaches what it imports, by any way of importing, of its package and of other code that is not installed and
not the platform's. It reaches a file of its package that it names, and every one where it looks for them in a way that
cannot be read off. The same goes for modules that are imported by a name that is worked out. Line ends do not count,
nor do those fields of `SPEC` that no reached module mentions and that decide no row.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

PLATFORM = ("dags", "formats", "include", "local", "plugins", "serving", "spark_jobs", "stores")
USE_CASES = "include.use_cases"
SPEC_FIELDS = (
    "candidates",
    "carried",
    "classes",
    "cron",
    "first_day",
    "history_days",
    "holdout_days",
    "last_day",
    "owner",
    "task",
    "title",
)
"""Fields of a spec that decide which days are made and how they are shown, but no row."""
IMPORTERS = (
    "SourceFileLoader",
    "__import__",
    "exec",
    "exec_module",
    "import_module",
    "iter_modules",
    "load_module",
    "resolve_name",
    "run_module",
    "run_path",
    "spec_from_file_location",
    "walk_packages",
)
"""Calls that import or run what their argument names."""
BY_NAME = ("__import__", "import_module", "run_module")
"""Those that take a module's name."""
FINDERS = (
    "__file__",
    "__loader__",
    "__path__",
    "__spec__",
    "get_data",
    "getfile",
    "getsourcefile",
    "importlib.resources",
    "resources",
)
"""What a module finds files of its package by."""


def fingerprint(package: str, *modules: str, without: Collection[str] = (), files: bool = True) -> str:
    """A hash of a package's modules and of all that they reach.

    Modules of the package named in `without` are left out, and without `files` its files that are no modules. Raises
    `ModuleNotFoundError` for a module that is not there.
    """
    _look_again()
    reached = _Reach(package, {f"{package}.{name}" for name in without})
    for module in modules:
        name = f"{package}.{module}"
        if _find(name) is None:
            raise ModuleNotFoundError(f"no module {name}", name=name)
        reached.follow(name)
    content = reached.sources() | (reached.files() if files else {})
    return hashlib.sha256(b"".join(_entry(name, text) for name, text in sorted(content.items()))).hexdigest()


def requirements_file(package: str) -> Path | None:
    """The `requirements.txt` in a package's folder, if there is one; nothing is imported."""
    _look_again()
    path = (_folder(package) or Path("nowhere")) / "requirements.txt"
    return path if path.is_file() else None


@dataclass(frozen=True)
class _Module:
    """A module's source, read but not run."""

    name: str
    path: Path
    package: bool
    content: bytes

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.content) if self.path.suffix == ".py" else ast.Module([], [])

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def attributes(self) -> set[str]:
        return {node.attr for node in self.nodes if isinstance(node, ast.Attribute)}

    @cached_property
    def texts(self) -> set[str]:
        values = (node.value for node in self.nodes if isinstance(node, ast.Constant))
        return {value for value in values if isinstance(value, str)}

    @cached_property
    def mentions(self) -> set[str]:
        names = {node.id for node in self.nodes if isinstance(node, ast.Name)}
        imported = [node for node in self.nodes if isinstance(node, ast.ImportFrom | ast.Import)]
        names |= {node.module for node in imported if isinstance(node, ast.ImportFrom) and node.module}
        return names | self.attributes | {alias.name for node in imported for alias in node.names}

    @cached_property
    def endings(self) -> set[str]:
        """How names of files end that are put together, as in f"{name}.csv", "*.csv" and with_suffix(".csv")."""
        built = [node.values[-1] for node in self.nodes if isinstance(node, ast.JoinedStr) and node.values]
        last = {str(part.value) for part in built if isinstance(part, ast.Constant)}
        last |= {text.rpartition("*")[2] for text in self.texts if "*" in text or text.startswith(".")}
        return {text for text in last if "." in text}

    def absolute(self, name: str, level: int) -> str:
        """A relative module name in full."""
        if level == 0:
            return name
        parts = self.name.split(".")
        base = parts[: len(parts) - level + self.package]
        return ".".join([*base, name] if name else base)


@dataclass
class _Reach:
    """What modules reach, found by reading their sources."""

    package: str
    without: Collection[str]
    modules: dict[str, _Module] = field(default_factory=dict)

    def follow(self, name: str) -> None:
        waiting = [name]
        while waiting:
            name = waiting.pop()
            parent = name.rpartition(".")[0]
            if parent:
                waiting.append(parent)  # it runs first
            if name in self.modules or name in self.without or not self._ours(name):
                continue
            if module := _load(name):
                self.modules[name] = module
                waiting += self._imports(module)

    def sources(self) -> dict[str, bytes]:
        """The text of each module by its name."""
        mentioned = {name for module in self.modules.values() for name in module.attributes}
        spec = f"{self.package}.spec"
        return {
            name: _without_fields(module, mentioned) if name == spec else module.content
            for name, module in self.modules.items()
        }

    def files(self) -> dict[str, bytes]:
        """The package's other files that the modules name or may look for."""
        root = _folder(self.package)
        if root is None:
            return {}
        there = {
            path.relative_to(root).as_posix(): path
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
        }
        found = {name for module in self.modules.values() for name in _named(module, there)}
        return {f"/{name}": _text(there[name].read_bytes()) for name in found}

    def _ours(self, name: str) -> bool:
        if name == self.package or name.startswith(f"{self.package}."):
            return True
        top = name.partition(".")[0]
        return name.startswith(f"{USE_CASES}.") if top in PLATFORM else not _installed(top)

    def _imports(self, module: _Module) -> Iterator[str]:
        for node in module.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name
                    yield from self._mentioned(alias.name, module)
            elif isinstance(node, ast.ImportFrom):
                base = module.absolute(node.module or "", node.level)
                yield base
                for alias in node.names:
                    if alias.name == "*":
                        yield from self._within(base)
                    else:
                        yield f"{base}.{alias.name}"
                        yield from self._mentioned(f"{base}.{alias.name}", module)
        yield from self._worked_out(module)

    def _mentioned(self, package: str, module: _Module) -> Iterator[str]:
        """A package's modules that are used as its attributes."""
        yield from (name for name in self._within(package) if name.rpartition(".")[2] in module.attributes)

    def _within(self, package: str) -> Iterator[str]:
        """The modules and packages directly in a package of ours."""
        folder = _folder(package) if self._ours(package) else None
        if folder is not None:
            for path in sorted(folder.iterdir()):
                if path.suffix == ".py" or (path.is_dir() and path.name.isidentifier()):
                    yield f"{package}.{path.stem}"

    def _worked_out(self, module: _Module) -> Iterator[str]:
        """What a module imports by name: that one, or all of its package where the name is not written there."""
        if not module.mentions & set(IMPORTERS):
            return
        calls = [node for node in module.nodes if isinstance(node, ast.Call) and _called(node) in BY_NAME]
        used = [
            node
            for node in module.nodes
            if (isinstance(node, ast.Name) and node.id in IMPORTERS)
            or (isinstance(node, ast.Attribute) and node.attr in IMPORTERS)
        ]
        written = [
            call.args[0].value
            for call in calls
            if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
        ]
        for name in written:
            yield module.absolute(name.lstrip("."), len(name) - len(name.lstrip(".")))
        if len(written) < len(used) or not used:
            yield from self._everything(self.package)

    def _everything(self, package: str) -> Iterator[str]:
        for name in self._within(package):
            yield name
            yield from self._everything(name)


def _entry(name: str, content: bytes) -> bytes:
    return name.encode() + b"\0" + content + b"\0"


def _text(content: bytes) -> bytes:
    """The bytes as they are where lines end in LF, whatever a checkout made of them."""
    return content if b"\0" in content else content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@dataclass(frozen=True)
class _Place:
    """The file of a module's source (a namespace has none), and the folders that it is the package of."""

    source: Path | None
    folders: tuple[Path, ...] = ()

    def module(self, name: str) -> _Place | None:
        """The place of one of the package's own modules."""
        spaces = tuple(folder / name for folder in self.folders if (folder / name).is_dir())
        for space in spaces:
            if (space / "__init__.py").is_file():
                return _Place(space / "__init__.py", (space,))
        for folder in self.folders:
            for suffix in (".py", *EXTENSION_SUFFIXES):
                if (folder / f"{name}{suffix}").is_file():
                    return _Place(folder / f"{name}{suffix}")
        return _Place(None, spaces) if spaces else None


def _look_again() -> None:
    """Forget where modules are: files may be new since the last time."""
    importlib.invalidate_caches()
    for cached in (_top, _installed):
        cached.cache_clear()


def _find(name: str) -> _Place | None:
    """The place of a module; nothing is imported."""
    top, *rest = name.split(".")
    place = _top(top)
    for part in rest:
        place = place.module(part) if place else None
    return place


@cache
def _top(name: str) -> _Place | None:
    try:
        spec = PathFinder.find_spec(name) or find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    source = Path(spec.origin) if spec.has_location and spec.origin else None
    return _Place(source, tuple(map(Path, spec.submodule_search_locations or ())))


def _load(name: str) -> _Module | None:
    place = _find(name)
    if place is None or place.source is None or not place.source.is_file():
        return None
    content = place.source.read_bytes()
    if place.source.suffix == ".py":
        content = _text(content).removeprefix(b"\xef\xbb\xbf")
    return _Module(name, place.source, bool(place.folders), content)


def _folder(package: str) -> Path | None:
    place = _find(package)
    return next((folder for folder in place.folders if folder.is_dir()), None) if place else None


@cache
def _installed(top: str) -> bool:
    """Whether a top-level module is Python's own, or an installed library's: those are known by their versions."""
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return True
    place = _find(top)
    if place is None:
        return True
    installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(
        installed & set(path.parents) or {"site-packages", "dist-packages"} & set(path.parts)
        for path in (place.source, *place.folders)
        if path is not None
    )


def _named(module: _Module, there: Collection[str]) -> set[str]:
    """Which of a package's files a module reaches."""
    finds = bool(module.mentions & set(FINDERS))
    texts = {PurePosixPath(text).as_posix().strip("/") for text in module.texts if text and len(text) < 500}
    found = {name for name in there for text in texts if ("." in text or finds) and _same(name, text)}
    if not finds:
        return found
    found |= {name for name in there for text in module.endings if name.endswith(text)}
    folders = {text for text in texts if any(f"/{text}/" in f"/{name}" for name in there)}
    # A folder that is named on the way to a named file is not meant as a whole.
    whole = {text for text in folders if not any(f"/{text}/" in f"/{name}" for name in found)}
    found |= {name for name in there for text in whole if f"/{text}/" in f"/{name}"}
    return found or set(there)


def _same(name: str, text: str) -> bool:
    return f"/{name}".endswith(f"/{text}") or f"/{text}".endswith(f"/{name}")


def _without_fields(module: _Module, mentioned: Collection[str]) -> bytes:
    """A spec.py without the fields of its SPEC that decide no row."""
    calls = [node for node in module.nodes if isinstance(node, ast.Call) and _called(node) == "UseCaseSpec"]
    fields = [
        keyword
        for call in calls
        for keyword in call.keywords
        if keyword.arg in SPEC_FIELDS and keyword.arg not in mentioned
    ]
    lines = module.content.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    content = module.content
    for keyword in sorted(fields, key=lambda one: (one.lineno, one.col_offset), reverse=True):
        end_line, end_column = keyword.value.end_lineno or keyword.lineno, keyword.value.end_col_offset or 0
        start, end = starts[keyword.lineno - 1] + keyword.col_offset, starts[end_line - 1] + end_column
        content = content[:start] + content[end:]
    return content
