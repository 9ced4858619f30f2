"""A version as an MLflow model: the portable file, the one file of code that reads it, a signature and an example.

Nothing in it is pickled, and loading it needs what its requirements.txt pins and nothing of ours.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import formats.portable_model
from formats.portable_model import MODEL, InputKind, ModelInput, PortableModel
from include.modelling.scoring import raw_columns

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

EXAMPLE_ROWS = 5
REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "pandas")
"""What a version pins, at what is installed here."""


def log_model(
    client: MlflowClient, run_id: str, name: str, content: bytes, features: pa.Table, *, files: Mapping[str, str]
) -> None:
    """Put a portable file into its MLflow run as the model `name`, with further text files beside it.

    The first of the `features` are its input example.
    """
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, name), content, features)
        for file, text in files.items():
            Path(folder, name, file).write_text(text, encoding="utf-8")
        client.log_artifacts(run_id, str(Path(folder, name)), name)


def save(folder: Path, content: bytes, features: pa.Table) -> None:
    """Write a portable file as an MLflow model into a new folder."""
    for name in ("mlflow.pyfunc", "mlflow.utils.environment"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import mlflow.pyfunc

    model = PortableModel.load(content)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, f"{MODEL}.onnx")
        file.write_bytes(content)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=formats.portable_model.__file__,
            artifacts={MODEL: str(file)},
            signature=signature(model),
            input_example=frame(features.slice(0, EXAMPLE_ROWS), model.inputs),
            pip_requirements=[f"{library}=={version(library)}" for library in REQUIREMENTS],
            metadata={"sha256": model.sha256},
        )
    _forget_this_machine(folder)


def _forget_this_machine(folder: Path) -> None:
    """Leave names where MLflow noted from which paths it copied; it reads the names only."""
    from mlflow.models import Model

    model = Model.load(str(folder))
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    flavor["artifacts"][MODEL]["uri"] = flavor["artifacts"][MODEL]["path"]
    model.save(str(folder / "MLmodel"))


def signature(model: PortableModel) -> ModelSignature:
    """What a model takes and gives: numbers are doubles, categories are strings, and each may be absent in a row."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Map

    kinds = {InputKind.NUMBER: "double", InputKind.CATEGORY: "string"}
    takes = [ColSpec(kinds[column.kind], column.name, required=False) for column in model.inputs]
    gives = {"class": "string", "probabilities": Map(DataType.double)}
    columns = model.answers.columns(np.zeros((0, *model.answers.shape)))
    return ModelSignature(Schema(takes), Schema([ColSpec(gives.get(name, "double"), name) for name in columns]))


def frame(features: pa.Table, inputs: Sequence[ModelInput]) -> pd.DataFrame:
    """Feature rows as the signature takes them."""
    import pandas as pd

    columns: dict[str, Any] = raw_columns(features, inputs)
    return pd.DataFrame(columns)
