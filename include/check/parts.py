"""The modules of a use case's package, imported as they are asked for; one that fails is a finding, once."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from include.check.finding import Mistake
from include.use_case import UseCase


@dataclass
class Parts:
    """The modules that can be imported, `there` naming those that have a file without a syntax error."""

    use_case: UseCase
    there: set[str]
    failures: list[Mistake] = field(default_factory=list)
    _tried: dict[str, ModuleType | None] = field(default_factory=dict)

    def value(self, module: str, name: str, kind: type | tuple[type, ...]) -> Any:
        """A module's value; None where there is none, or one of another type, which is a finding."""
        found = getattr(self._module(module), name, None)
        if found is None or isinstance(found, kind):
            return found
        wanted = kind[-1] if isinstance(kind, tuple) else kind
        self.failures.append(Mistake(f"{module}.py", name, f"is a {type(found).__name__}; make it a {wanted.__name__}"))
        return None

    def _module(self, module: str) -> ModuleType | None:
        if module not in self._tried:
            self._tried[module] = self._imported(module) if module in self.there else None
        return self._tried[module]

    def _imported(self, module: str) -> ModuleType | None:
        package = self.use_case.spec.package
        try:
            return importlib.import_module(f"{package}.{module}")
        except Exception as error:  # a use case's module may raise anything
            if (failure := Mistake.of(error, package, f"{module}.py", "import")) not in self.failures:
                self.failures.append(failure)
            return None
