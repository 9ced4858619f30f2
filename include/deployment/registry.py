"""What the model registry learns of a version that left service."""

from __future__ import annotations

import logging

from include.errors import StepError
from include.settings import Settings

log = logging.getLogger("nightshift")


def tell_registry(settings: Settings, use_case: str, *, out: str, back: str | None, reason: str) -> str:
    """Mark version `out` as rejected and let `champion` name the one that serves instead; what was done, in words.

    What is served has changed already. So a registry that does not answer is reported, not raised: the version taken
    out stays out, because `deploy` asks the log too.
    """
    try:
        from include.model_registry.versions import Alias, Registry

        registry = Registry.open(settings, use_case)
        known = {version.version: version for version in registry.versions()}
        if out in known:
            registry.reject(known[out], reason)
        if back is not None and back in known:
            registry.readmit(known[back])
            registry.set_alias(Alias.CHAMPION, known[back])
    except StepError as error:
        log.warning("the registry does not know of it yet: %s", error)
        return f"not told yet, the next deploy will: {error}"
    return f"version {out} rejected" + (f", champion is version {back}" if back is not None else "")
