"""What NVIDIA's client of the inference protocol gets of a server; runs where that client is, prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

KINDS = {"FP64": np.float64, "BYTES": np.object_}


def tensors(described: list[dict[str, Any]], columns: dict[str, list[Any]], *, binary: bool) -> list[InferInput]:
    """One for each input, by what the model's metadata says of it."""
    found = []
    for one in described:
        values: Any = np.array(columns[one["name"]], KINDS[one["datatype"]]).reshape(-1, 1)
        tensor = InferInput(one["name"], list(values.shape), one["datatype"])
        found.append(tensor.set_data_from_numpy(values, binary_data=binary))
    return found


def main(address: str, model: str, columns: dict[str, list[Any]]) -> dict[str, Any]:
    """Everything that the client can ask of one model."""
    with InferenceServerClient(address) as client:
        about = client.get_model_metadata(model)
        (version,) = about["versions"]
        found: dict[str, Any] = {
            "ready": [
                client.is_server_live(),
                client.is_server_ready(),
                client.is_model_ready(model),
                client.is_model_ready(model, version),
                client.is_model_ready(model, "8"),
            ],
            "extensions": client.get_server_metadata()["extensions"],
        }
        for binary in (True, False):
            # A number that is not known is NaN in numpy, which JSON does not have.
            kept = columns if binary else {name: values[:1] for name, values in columns.items()}
            inputs = tensors(about["inputs"], kept, binary=binary)
            for outputs in (None, [InferRequestedOutput(one["name"], binary) for one in about["outputs"]]):
                answer = client.infer(model, inputs, outputs=outputs, request_id="42")
                got = {one["name"]: answer.as_numpy(one["name"]) for one in about["outputs"]}
                got = {name: values.astype(str if values.dtype == object else float) for name, values in got.items()}
                found[f"{'binary' if binary else 'JSON'}, {'all' if outputs is None else 'named'}"] = {
                    "id": answer.get_response()["id"],
                    **{name: values.tolist() for name, values in got.items()},
                }
        try:
            client.infer(model, inputs[:1])
        except InferenceServerException as error:
            found["error"] = [error.status(), error.message()]
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
