"""A step's command line, as its arguments' model has it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from include.errors import SettingsError

A = TypeVar("A", bound=BaseModel)


def parse(arguments: type[A], argv: Sequence[str]) -> A:
    """Arguments from a command line; `--name value` for each field, a bare `--name` for a flag."""
    parser = argparse.ArgumentParser(prog=arguments.__module__, allow_abbrev=False, exit_on_error=False)
    for name, info in arguments.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        if info.annotation is bool:
            parser.add_argument(option, nargs="?", const="true", default=argparse.SUPPRESS)
        else:
            parser.add_argument(option, default=argparse.SUPPRESS)
    try:
        known, unknown = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise SettingsError(str(error)) from None
    if unknown:
        raise SettingsError(f"unknown argument {unknown[0]}; known: {', '.join(arguments.model_fields)}")
    try:
        return arguments.model_validate(vars(known))
    except ValidationError as error:
        first = error.errors()[0]
        given = "" if first["type"] == "missing" else f" {first['input']!r}"
        raise SettingsError(f"--{str(first['loc'][0]).replace('_', '-')}{given}: {first['msg']}") from None
