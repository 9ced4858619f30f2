"""The portable model file's only reader: encodes raw feature columns and answers probabilities."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import ValidationError

from formats.errors import AnswerError, ModelError
from formats.model_card import InputKind, ModelCard, ModelInput
from formats.request_rows import RowReader

METADATA_KEY = "nightshift"
FEATURES = "features"
PROBABILITY = "probability"

Column = Sequence[Any] | NDArray[Any]


class PortableModel:
    """A loaded model file: a pure ONNX graph (`features` float64 [N, F] to `probability` float64 [N]) and its card.

    Only its ONNX operators are executed. One thread per prediction: a request is small, and many come at once.
    """

    def __init__(self, session: onnxruntime.InferenceSession, card: ModelCard, sha256: str, name: str) -> None:
        self.card = card
        self.sha256 = sha256
        self.name = name
        self.reader = RowReader(card.inputs)
        self._session = session
        self._codes = {
            column.name: {value: float(code) for code, value in enumerate(column.categories)}
            for column in card.inputs
            if column.kind is InputKind.CATEGORY
        }

    @classmethod
    def load(cls, content: bytes, *, sha256: str | None = None, name: str = "the bytes given") -> PortableModel:
        """A model from a file's bytes; `ModelError` when they are another file or no file of this kind."""
        found = hashlib.sha256(content).hexdigest()
        if sha256 is not None and not hmac.compare_digest(found, sha256.lower()):
            raise ModelError(
                f"model file {name}: SHA-256 is {found}, expected {sha256}; it is truncated or another file"
            )
        session = _session(content, name)
        card = _card(session, name)
        _check_graph(session, len(card.inputs), name)
        return cls(session, card, found, name)

    @classmethod
    def open(cls, path: Path | str, *, sha256: str | None = None) -> PortableModel:
        """A model from a file on this machine."""
        return cls.load(Path(path).read_bytes(), sha256=sha256, name=str(path))

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        """The raw feature columns it takes, in the graph's order."""
        return self.card.inputs

    def probabilities(self, columns: Mapping[str, Column]) -> NDArray[np.float64]:
        """One probability a row, in [0, 1], from raw feature columns of equal length; other columns are ignored.

        A null, or a category the model never saw, is a missing value. `ModelError` for a column that is absent.
        """
        missing = [column.name for column in self.inputs if column.name not in columns]
        if missing:
            raise ModelError(f"model file {self.name} takes columns that are not there: {', '.join(missing)}")
        encoded = [self._encode(column, columns[column.name]) for column in self.inputs]
        return self._run(np.column_stack(encoded))

    def encoded(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """One probability a row, from inputs encoded as the card says: float64 [N, F], NaN where there is no value."""
        return self._run(features)

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """One probability a row, from rows of raw feature values; a field that is absent is a missing value."""
        return self.probabilities({column.name: [row.get(column.name) for row in rows] for column in self.inputs})

    def answer(self, body: bytes) -> NDArray[np.float64]:
        """One probability a row, from a request's body; `RowError` names the row and field that is wrong."""
        return self._run(self.reader.read(body))

    def self_test(self) -> None:
        """Ask for a row of nulls and one of zeros and first categories; `ModelError` unless both answers make sense."""
        known = {column.name: column.categories[0] if column.categories else 0.0 for column in self.inputs}
        try:
            self.rows([{}, known])
        except AnswerError as error:
            raise ModelError(f"self-test failed: {error}") from None

    def _encode(self, column: ModelInput, values: Column) -> NDArray[np.float64]:
        if column.kind is InputKind.CATEGORY:
            codes = self._codes[column.name]
            return np.array([codes.get(value) for value in values], dtype=np.float64)
        return np.asarray(values, dtype=np.float64)

    def _run(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(features):
            return np.empty(0)
        try:
            (found,) = self._session.run([PROBABILITY], {FEATURES: features})
        except Exception as error:  # the runtime's own exception types are not public
            raise AnswerError(f"model file {self.name} cannot answer: {_first_line(error)}") from None
        answers = np.asarray(found, dtype=np.float64)
        if answers.shape != (len(features),) or not _probable(answers):
            raise AnswerError(f"model file {self.name}: an answer is no probability in [0, 1]")
        return answers


def _session(content: bytes, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exception types are not public
        raise ModelError(f"model file {name}: not a whole ONNX file ({_first_line(error)})") from None


def _card(session: onnxruntime.InferenceSession, name: str) -> ModelCard:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"model file {name}: an ONNX file, but not one of nightshift's (no {METADATA_KEY!r} metadata)")
    try:
        return ModelCard.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"model file {name}: metadata {where}: {first['msg']}") from None
    except ValueError as error:
        raise ModelError(f"model file {name}: metadata is not JSON ({error})") from None


def _check_graph(session: onnxruntime.InferenceSession, width: int, name: str) -> None:
    takes = [(node.name, node.type, node.shape[1:]) for node in session.get_inputs()]
    gives = [(node.name, node.type, len(node.shape)) for node in session.get_outputs()]
    if takes != [(FEATURES, "tensor(double)", [width])]:
        raise ModelError(f"model file {name}: takes {takes}, expected {FEATURES} float64 [N, {width}]")
    if gives != [(PROBABILITY, "tensor(double)", 1)]:
        raise ModelError(f"model file {name}: gives {gives}, expected {PROBABILITY} float64 [N]")


def _probable(answers: NDArray[np.float64]) -> bool:
    # The least and the greatest of values with a NaN among them are NaN, which is in no range.
    return bool(np.minimum.reduce(answers) >= 0 and np.maximum.reduce(answers) <= 1)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
