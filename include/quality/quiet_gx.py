"""Great Expectations, imported so that it neither calls home nor logs."""

from __future__ import annotations

import logging
import os
from typing import Any, TypeAlias

# Both count while it is imported: analytics are read once, and every class it registers would be a line of log.
os.environ["GX_ANALYTICS_ENABLED"] = "false"
logging.getLogger("great_expectations").setLevel(logging.ERROR)

import great_expectations as gx  # noqa: E402
from great_expectations import expectations as gxe  # noqa: E402
from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: E402
from great_expectations.render.view import DefaultJinjaPageView as PageView  # noqa: E402

# This module sets its own level when it is imported.
logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.ERROR)

Expectation: TypeAlias = Any

__all__ = ["Expectation", "PageView", "ProgressBarsConfig", "gx", "gxe"]
