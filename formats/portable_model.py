"""The portable model file's only reader: encodes raw feature columns and answers.

This file needs nothing but numpy and ONNX Runtime, and no other file of ours. Serving and the `score` step import it;
MLflow runs a copy of it, which every registered version carries, wherever that version is loaded.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnxruntime

METADATA_KEY = "nightshift"
FEATURES = "features"
MODEL = "model"
"""The name of the portable file among an MLflow model's artifacts."""

Column = Sequence[Any] | NDArray[Any]
Found = NDArray[np.float64]
"""What the graph gives: float64 [N], or [N, classes]."""


class ServingError(Exception):
    """One clear line, and the HTTP status it is answered with; `retry_after` seconds go into a header of that name."""

    status = 500
    retry_after: int | None = None


class ModelError(ServingError):
    """A model file is unusable: wrong hash, truncated, foreign, or it fails its self-test."""

    status = 422


class AnswerError(ServingError):
    """A loaded model gave no answer."""


class InputKind(StrEnum):
    """How an input's raw values become the number the graph takes."""

    NUMBER = "number"
    CATEGORY = "category"


@dataclass(frozen=True)
class ModelInput:
    """One raw feature column; `categories` lists a category's known values in the order of their codes."""

    name: str
    kind: InputKind
    categories: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> ModelInput:
        """The column as a file's metadata has it; `KeyError` or `ValueError` when it is none."""
        return cls(body["name"], InputKind(body["kind"]), tuple(body.get("categories", ())))


@dataclass(frozen=True)
class ModelDescription:
    """What a model file says of itself: the metadata of the ONNX file under `nightshift`.

    `classes` are a multiclass model's, in the order of its probabilities. `quantiles` are those of the labels that a
    regression model learned from, at even steps, least first.
    """

    use_case: str
    key: str
    inputs: tuple[ModelInput, ...]
    recipe: Any = None
    trained_through: date | None = None
    task: str = "binary"
    classes: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> ModelDescription:
        """The description in a file's metadata; `KeyError`, `ValueError` or `TypeError` when it is none."""
        body = json.loads(text)
        through = body.get("trained_through")
        return cls(
            use_case=body["use_case"],
            key=body["key"],
            inputs=tuple(map(ModelInput.from_dict, body["inputs"])),
            recipe=body.get("recipe"),
            trained_through=None if through is None else date.fromisoformat(through),
            task=body.get("task", "binary"),
            classes=tuple(body.get("classes", ())),
            quantiles=tuple(map(float, body.get("quantiles", ()))),
        )


class BinaryOutput:
    """A binary model's answer: the probability of yes, float64 [N]."""

    output = "probability"
    shape: tuple[int, ...] = ()
    wanted = "a probability in [0, 1]"

    def __init__(self, description: ModelDescription | None = None) -> None:
        """Nothing in its description matters."""

    def sound(self, found: Found) -> bool:
        """Whether every answer is one; there must be some."""
        # The least and the greatest of values with a NaN among them are NaN, which is in no range.
        return bool(np.minimum.reduce(found) >= 0 and np.maximum.reduce(found) <= 1)

    def columns(self, found: Found) -> dict[str, list[Any]]:
        """`probability`, one a row."""
        return {"probability": found.tolist()}


class MulticlassOutput:
    """A multiclass model's answer: the probability of each class, float64 [N, classes]."""

    output = "probabilities"
    wanted = "probabilities in [0, 1] that add up to 1"
    off = 1e-4
    """How far their sum may be from 1: some libraries count in single precision."""

    def __init__(self, description: ModelDescription) -> None:
        self.classes = description.classes
        if len(set(self.classes)) < 2:
            raise ValueError("a multiclass model has two classes or more")
        self.shape = (len(self.classes),)

    def sound(self, found: Found) -> bool:
        """Whether every answer is one; there must be some."""
        return bool(found.min() >= 0 and found.max() <= 1) and bool(np.abs(found.sum(axis=1) - 1).max() <= self.off)

    def columns(self, found: Found) -> dict[str, list[Any]]:
        """`class`, the likeliest, and `probabilities` by class, one a row."""
        likeliest = [self.classes[place] for place in found.argmax(axis=1).tolist()]
        return {
            "class": likeliest,
            "probabilities": [dict(zip(self.classes, row, strict=True)) for row in found.tolist()],
        }


class RegressionOutput:
    """A regression model's answer: a number in the unit of its label, float64 [N]."""

    output = "prediction"
    shape: tuple[int, ...] = ()
    wanted = "a finite number"

    def __init__(self, description: ModelDescription) -> None:
        self.quantiles = np.asarray(description.quantiles)
        if len(self.quantiles) < 2:
            raise ValueError("a regression model has the quantiles of its labels")

    def sound(self, found: Found) -> bool:
        """Whether every answer is one."""
        return bool(np.isfinite(found).all())

    def columns(self, found: Found) -> dict[str, list[Any]]:
        """`prediction`, one a row."""
        return {"prediction": found.tolist()}


Answers = BinaryOutput | MulticlassOutput | RegressionOutput
ANSWERS = {"binary": BinaryOutput, "multiclass": MulticlassOutput, "regression": RegressionOutput}
"""What models answer, by their task."""


class PortableModel:
    """A loaded model file: its description, and a pure ONNX graph from `features` float64 [N, F] to its `answers`.

    Only its ONNX operators are executed. One thread per prediction: a request is small, and many come at once.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, description: ModelDescription, sha256: str, name: str
    ) -> None:
        self.description = description
        self.sha256 = sha256
        self.name = name
        self.answers = answers_of(description, name)
        self._outputs = [self.answers.output]
        self._session = session
        self._codes = {
            column.name: {value: float(code) for code, value in enumerate(column.categories)}
            for column in description.inputs
            if column.kind is InputKind.CATEGORY
        }

    @classmethod
    def load(cls, content: bytes, *, sha256: str | None = None, name: str = "the bytes given") -> Self:
        """A model from a file's bytes; `ModelError` when they are another file or no file of this kind."""
        found = hashlib.sha256(content).hexdigest()
        if sha256 is not None and not hmac.compare_digest(found, sha256.lower()):
            raise ModelError(
                f"model file {name}: SHA-256 is {found}, expected {sha256}; it is truncated or another file"
            )
        session = _session(content, name)
        description = _description(session, name)
        _check_graph(session, len(description.inputs), answers_of(description, name), name)
        return cls(session, description, found, name)

    @classmethod
    def open(cls, path: Path | str, *, sha256: str | None = None) -> Self:
        """A model from a file on this machine."""
        return cls.load(Path(path).read_bytes(), sha256=sha256, name=str(path))

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        """The raw feature columns it takes, in the graph's order."""
        return self.description.inputs

    def columns(self, columns: Mapping[str, Column]) -> Found:
        """One answer a row, from raw feature columns of equal length; other columns are ignored.

        A null, or a category the model never saw, is a missing value. `ModelError` for a column that is absent.
        """
        missing = [column.name for column in self.inputs if column.name not in columns]
        if missing:
            raise ModelError(f"model file {self.name} takes columns that are not there: {', '.join(missing)}")
        encoded = [self._encode(column, columns[column.name]) for column in self.inputs]
        return self._run(np.column_stack(encoded))

    def encoded(self, features: NDArray[np.float64]) -> Found:
        """One answer a row, from inputs that are encoded already: float64 [N, F], NaN where there is no value."""
        return self._run(features)

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Found:
        """One answer a row, from rows of raw feature values; a field that is absent is a missing value."""
        return self.columns({column.name: [row.get(column.name) for row in rows] for column in self.inputs})

    def self_test(self) -> None:
        """Ask for a row of nulls and one of zeros and first categories; `ModelError` unless both answers make sense."""
        known = {column.name: column.categories[0] if column.categories else 0.0 for column in self.inputs}
        try:
            self.rows([{}, known])
        except AnswerError as error:
            raise ModelError(f"self-test failed: {error}") from None

    def _encode(self, column: ModelInput, values: Column) -> NDArray[np.float64]:
        if column.kind is InputKind.CATEGORY:
            code = self._codes[column.name].get
            return np.array([code(value, np.nan) for value in values], dtype=np.float64)
        return np.asarray(values, dtype=np.float64)

    def _run(self, features: NDArray[np.float64]) -> Found:
        if not len(features):
            return np.empty((0, *self.answers.shape))
        try:
            (found,) = self._session.run(self._outputs, {FEATURES: features})
        except Exception as error:  # the runtime's own exception types are not public
            raise AnswerError(f"model file {self.name} cannot answer: {_first_line(error)}") from None
        answers = np.asarray(found, dtype=np.float64)
        if answers.shape != (len(features), *self.answers.shape) or not self.answers.sound(answers):
            raise AnswerError(f"model file {self.name}: an answer is not {self.answers.wanted}")
        return answers


def answers_of(description: ModelDescription, name: str) -> Answers:
    """What the model of that description answers; `ModelError` for one that answers nothing we know."""
    try:
        made: Answers = ANSWERS[description.task](description)
    except KeyError:
        raise ModelError(f"model file {name}: task {description.task!r} is none of {', '.join(ANSWERS)}") from None
    except ValueError as error:
        raise ModelError(f"model file {name}: metadata is not as expected ({error})") from None
    return made


def _session(content: bytes, name: str) -> onnxruntime.InferenceSession:
    # ONNX Runtime 1.29 and later sends what it runs to its maker, unless this is set before it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exception types are not public
        raise ModelError(f"model file {name}: not a whole ONNX file ({_first_line(error)})") from None


def _description(session: onnxruntime.InferenceSession, name: str) -> ModelDescription:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"model file {name}: an ONNX file, but not one of nightshift's (no {METADATA_KEY!r} metadata)")
    try:
        return ModelDescription.from_json(text)
    except KeyError as error:
        raise ModelError(f"model file {name}: metadata has no {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"model file {name}: metadata is not as expected ({error})") from None


def _check_graph(session: onnxruntime.InferenceSession, width: int, answers: Answers, name: str) -> None:
    takes = [(node.name, node.type, node.shape[1:]) for node in session.get_inputs()]
    gives = [(node.name, node.type, len(node.shape)) for node in session.get_outputs()]
    if takes != [(FEATURES, "tensor(double)", [width])]:
        raise ModelError(f"model file {name}: takes {takes}, expected {FEATURES} float64 [N, {width}]")
    if gives != [(answers.output, "tensor(double)", 1 + len(answers.shape))]:
        shape = ", ".join(map(str, ("N", *answers.shape)))
        raise ModelError(f"model file {name}: gives {gives}, expected {answers.output} float64 [{shape}]")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


if not __package__:  # outside our packages MLflow runs this file by itself: models from code
    import mlflow
    import pandas

    class MlflowModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        """The portable model as MLflow asks it: a frame of raw feature columns in, a frame of answers out."""

        def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
            """Open the portable file beside this one."""
            self.model = PortableModel.open(context.artifacts[MODEL])

        def predict(self, model_input: pandas.DataFrame, params: Mapping[str, Any] | None = None) -> pandas.DataFrame:
            """One answer a row, in the order and with the index of the rows; other columns are ignored."""
            columns = {str(name): values.to_numpy() for name, values in model_input.items()}
            return pandas.DataFrame(self.model.answers.columns(self.model.columns(columns)), index=model_input.index)

    mlflow.models.set_model(MlflowModel())
