"""The kinds of a column, independent of any library, and each one's type in Arrow and in Spark's SQL."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pyarrow as pa

EXACT = 2**53
"""Up to here every whole number is exactly a float."""


class Kind(StrEnum):
    """A column's type, independent of any library."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    DATE = "date"
    INSTANT = "instant"

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type a column of this kind is stored in; instants are UTC microseconds."""
        return {
            Kind.TEXT: pa.string(),
            Kind.INTEGER: pa.int64(),
            Kind.NUMBER: pa.float64(),
            Kind.FLAG: pa.bool_(),
            Kind.DATE: pa.date32(),
            Kind.INSTANT: pa.timestamp("us", tz="UTC"),
        }[self]

    @property
    def sql(self) -> str:
        """The same type in Spark's SQL."""
        return {
            Kind.TEXT: "string",
            Kind.INTEGER: "bigint",
            Kind.NUMBER: "double",
            Kind.FLAG: "boolean",
            Kind.DATE: "date",
            Kind.INSTANT: "timestamp",
        }[self]

    @property
    def ordered(self) -> bool:
        """Whether values have an order, so that bounds mean something."""
        return self not in (Kind.TEXT, Kind.FLAG)

    def scalar(self, value: Any) -> pa.Scalar:
        """A value of Python's own as this kind's Arrow value. A whole float is an integer."""
        if self is Kind.INTEGER:
            value = int(value)
        return pa.scalar(float(value) + 0.0 if self is Kind.NUMBER else value, self.arrow)

    def written(self, value: Any) -> str:
        """A Python value in words; amounts without needless decimals."""
        if self is Kind.INTEGER or (self is Kind.NUMBER and abs(value) < EXACT and value == int(value)):
            return str(int(value))
        return str(value)
