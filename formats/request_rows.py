"""Rows of a prediction request: bytes in, the matrix the graph takes out, or one line that names row and field."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from formats.answers.kinds import AnswerKind, kind_of
from formats.portable_model import InputKind, ModelError, ModelInput, PortableModel, ServingError

MAX_ROWS = 1000
LARGEST = 1e30
"""No measurement is further from zero, and a model's sums of such values do not overflow float64."""

Number = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)] | bool | None
Category = str | None

_NAN = math.nan
_PLACE = re.compile(r" - at `\$(?:\.(?P<rows>rows))?(?:\[(?P<row>\d+)\])?(?:\.(?P<field>.+))?`$")
_COLUMN = re.compile(r" - at `\$\.(?P<field>.+?)(?P<row>\[\d+\])?`$")
_NO_NUMBER = re.compile(rb"NaN|Infinity")
_PLAIN = re.compile(r"[\w .:-]{1,64}")


class RowError(ServingError):
    """A row of a prediction request does not fit the model."""

    status = 422


class RowReader:
    """Reads bodies `{"rows": [{feature: value, …}, …]}`, or columns, of 1 to `MAX_ROWS` rows for one model's inputs.

    Each row holds exactly the inputs. A number is a JSON number within ±`LARGEST`, true, false (1, 0) or null; a
    category is text or null. Null, and a category the model never saw, is a missing value: NaN in the matrix.
    """

    def __init__(self, inputs: Sequence[ModelInput]) -> None:
        self.inputs = tuple(inputs)
        # The types are made from the card, so the decoder refuses what the model does not take while it parses.
        # Fields go by position (f0, f1, …): a feature's name need not be a Python name.
        row = self._struct("Row", lambda value: value)
        rows = _some(row)
        self.type = msgspec.defstruct("PredictRequest", [("rows", rows)], forbid_unknown_fields=True, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(self.type).decode
        self._columns = self._struct("Columns", _some)
        self._codes = [
            (place, {value: float(code) for code, value in enumerate(column.categories)}.get)
            for place, column in enumerate(self.inputs)
            if column.kind is InputKind.CATEGORY
        ]

    def read(self, body: bytes) -> NDArray[np.float64]:
        """The matrix [rows, inputs]; `RowError` says which row and field is wrong."""
        try:
            rows = self._decode(body).rows
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RowError(self._explained(body, error)) from None
        cells: list[Any] = []
        for row in rows:
            values = list(msgspec.structs.astuple(row))
            for place, code in self._codes:
                values[place] = code(values[place], _NAN)
            cells += values
        return np.fromiter(cells, np.float64, len(cells)).reshape(len(rows), len(self.inputs))

    def columns(self, columns: Mapping[str, Sequence[Any]]) -> NDArray[np.float64]:
        """The matrix [rows, inputs] of columns of values, held to what a body is held to."""
        try:
            found = list(msgspec.structs.astuple(msgspec.convert(columns, self._columns)))
        except msgspec.ValidationError as error:
            raise RowError(self._named_place(_as_in_rows(str(error)))) from None
        for place, code in self._codes:
            found[place] = [code(value, _NAN) for value in found[place]]
        try:
            cells = list(chain.from_iterable(zip(*found, strict=True)))
        except ValueError:
            line = "rows: some inputs have more values than others; send null where a value is not known"
            raise RowError(line) from None
        return np.fromiter(cells, np.float64, len(cells)).reshape(-1, len(found))

    def _struct(self, name: str, kind: Callable[[Any], Any]) -> Any:
        """A type with a field of that kind of value for each input."""
        return msgspec.defstruct(
            name,
            [(f"f{place}", kind(_TYPES[column.kind])) for place, column in enumerate(self.inputs)],
            rename={f"f{place}": column.name for place, column in enumerate(self.inputs)},
            forbid_unknown_fields=True,
            gc=False,
        )

    def _explained(self, body: bytes, error: Exception) -> str:
        if isinstance(error, UnicodeDecodeError):
            return "body: not UTF-8"
        if not isinstance(error, msgspec.ValidationError):
            return self._no_number(body) or f"body: {_malformed(str(error))}"
        return self._named_place(str(error))

    def _named_place(self, text: str) -> str:
        """The decoder's line, with row and field by name."""
        found = _PLACE.search(text)
        message = _message(_PLACE.sub("", text))
        place = found.groupdict() if found else {}
        names = [f"row {place['row']}"] if place.get("row") else (["rows"] if place.get("rows") else ["body"])
        if place.get("field"):
            names.append(f"field {place['field']!r}")
        if unknown := _UNKNOWN.fullmatch(message):
            names.append(f"field {named(unknown['name'])}")
            takes = ", ".join(column.name for column in self.inputs) if place.get("row") else "rows"
            message = f"unknown; {'the model' if place.get('row') else 'the body'} takes {takes}"
        elif missing := _MISSING.fullmatch(message):
            names.append(f"field {missing['name']!r}")
            message = "missing; send null where the value is not known" if place.get("row") else "missing"
        return f"{', '.join(names)}: {message}"

    def _no_number(self, body: bytes) -> str:
        """Where NaN or Infinity stands for a number, empty if nowhere: what Python's own JSON writes, and no JSON."""
        if not _NO_NUMBER.search(body):
            return ""
        try:
            rows = json.loads(body, parse_constant=_Constant)["rows"]
            place, name = next(
                (place, name)
                for place, row in enumerate(rows)
                for name, value in row.items()
                if isinstance(value, _Constant)
            )
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError, StopIteration):
            return ""
        return f"row {place}, field {named(name)}: not a finite number; send null where the value is not known"


class RequestModel(PortableModel):
    """A portable model that also answers the bodies of prediction requests."""

    def require_fit(self, use_case: str) -> None:
        """`ModelError` if it cannot serve that use case: it is of another one, or fails on rows of its own."""
        if (own := self.description.use_case) != use_case:
            raise ModelError(f"model file {self.name} is of use case {own!r}, not {use_case!r}")
        self.self_test()

    @cached_property
    def kind(self) -> AnswerKind:
        """Tells its answers."""
        return kind_of(self.description)

    @cached_property
    def reader(self) -> RowReader:
        """Reads the bodies."""
        return RowReader(self.inputs)

    def answer(self, body: bytes) -> NDArray[np.float64]:
        """One answer a row, from a request's body; `RowError` names the row and field that is wrong."""
        return self.encoded(self.reader.read(body))

    def answer_columns(self, columns: Mapping[str, Sequence[Any]]) -> NDArray[np.float64]:
        """One answer a row, from columns of raw values by input; `RowError` names the row and field that is wrong."""
        return self.encoded(self.reader.columns(columns))


class _Constant(str):
    """NaN, Infinity or -Infinity, as text."""

    __slots__ = ()


_TYPES: dict[InputKind, Any] = {InputKind.NUMBER: Number, InputKind.CATEGORY: Category}
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`", re.DOTALL)
_WORDS = {
    "Number out of range": f"not a finite number within ±{LARGEST:g}",
    "Expected `array` of length >= 1": "at least 1 row is needed",
    f"Expected `array` of length <= {MAX_ROWS}": f"at most {MAX_ROWS} rows at once",
}
_KINDS = {"bool | float | null": "a number or null", "str | null": "text or null", "array": "a list"}
_GOT = {"str": "text", "int": "a number", "float": "a number", "bool": "true or false", "array": "a list"}


def _some(kind: Any) -> Any:
    """The type of as many values as a request may have rows."""
    return Annotated[list[kind], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]


def _as_in_rows(text: str) -> str:
    """The decoder's line about a place in columns, as if it were about that place in rows."""
    found = _COLUMN.search(text)
    if found is None:
        return f"{text} - at `$.rows[0]`"
    place = f"$.rows{found['row']}.{found['field']}" if found["row"] else "$.rows"
    return f"{text[: found.start()]} - at `{place}`"


def _message(text: str) -> str:
    if text in _WORDS:
        return _WORDS[text]
    if re.fullmatch(r"Expected `float` [<>]= .*", text):
        return _WORDS["Number out of range"]
    if kinds := re.fullmatch(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`", text):
        wanted, got = kinds["wanted"], kinds["got"]
        return f"expected {_KINDS.get(wanted, f'an {wanted}')}, got {_GOT.get(got, got)}"
    return text


def _malformed(text: str) -> str:
    if text == "Input data was truncated":
        return "JSON that ends too early, or half a surrogate pair in it"
    return text if text.startswith("JSON is malformed") else "not JSON"


def named(name: str) -> str:
    """A field's name as the caller wrote it, if it can be one: an answer repeats no input."""
    return repr(name) if _PLAIN.fullmatch(name) else "of a name that no input has"
