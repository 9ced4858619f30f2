"""A server in this process, and the same rows asked of it in every dialect."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi.testclient import TestClient

from formats.portable_model import PortableModel
from serving.app import create_app
from serving.settings import ServingSettings
from tests.portable_files import write
from tests.releases import ReleasesFolder
from tests.waiting import until

INFER = "/v2/models/flight_delay/infer"
Rows = Sequence[Mapping[str, Any]]
Answers = list[dict[str, Any]]
"""One a row, by the name of what is predicted."""


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[TestClient]:
    """A server that serves nothing yet."""
    given = ServingSettings(state=folder / "state", releases=str(folder / "releases"), poll_seconds=0.05, **settings)
    with TestClient(create_app(given)) as client:
        yield client


def deploy(client: TestClient, folder: Path, content: bytes, version: str) -> None:
    """Put a model into service."""
    uri, sha256 = write(folder, content)
    use_case = PortableModel.load(content).description.use_case
    ReleasesFolder(folder / "releases").deploy(uri, sha256, version, use_case)

    def serves() -> bool:
        answer = client.get(f"/v1/models/{use_case}")
        return answer.status_code == 200 and answer.json()["version"] == version

    until(serves)


def columns(rows: Rows) -> dict[str, list[Any]]:
    """Values by input."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def datatype(values: Sequence[Any]) -> str:
    """What a tensor of them is called."""
    return "BYTES" if any(isinstance(value, str) for value in values) else "FP64"


def tensors(rows: Rows) -> list[dict[str, Any]]:
    """A tensor for each input, null where a value is not known."""
    return [
        {"name": name, "shape": [len(values)], "datatype": datatype(values), "data": values}
        for name, values in columns(rows).items()
    ]


def binary(rows: Rows, **more: Any) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a request with binary tensors; NaN, or no text, where a value is not known."""
    parts, described = [], []
    for tensor in tensors(rows):
        values = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            texts = [(value or "").encode() for value in values]
            parts.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))
        else:
            parts.append(np.array(values, np.float64).tobytes())
        described.append({**tensor, "parameters": {"binary_data_size": len(parts[-1])}})
    head = json.dumps({"inputs": described, **more}).encode()
    return head + b"".join(parts), {"Inference-Header-Content-Length": str(len(head))}


def table(rows: Rows) -> bytes:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def scoring_bodies(rows: Rows) -> dict[str, tuple[bytes, dict[str, str]]]:
    """The forms of MLflow's protocol: body and headers."""
    json_header, by_name = {"content-type": "application/json"}, columns(rows)
    forms: dict[str, Any] = {
        "dataframe_split": {"columns": list(by_name), "data": [list(row.values()) for row in rows]},
        "dataframe_records": list(rows),
        "instances": list(rows),
        "inputs": by_name,
    }
    bodies = {name: (json.dumps({name: form}).encode(), json_header) for name, form in forms.items()}
    return {**bodies, "csv": (table(rows), {"content-type": "text/csv"})}


def inferred(body: Mapping[str, Any]) -> Answers:
    """The answers of the inference protocol."""
    found = {one["name"]: np.reshape(one["data"], one["shape"]).tolist() for one in body["outputs"]}
    if classes := found.pop("classes", None):
        found["probabilities"] = [dict(zip(classes, row, strict=True)) for row in found["probabilities"]]
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def everywhere(client: TestClient, rows: Rows) -> dict[str, Answers]:
    """The answers to the same rows in every dialect and form."""
    own = client.post("/v1/predict", json={"rows": list(rows)}).raise_for_status().json()
    names = {"probabilities": "probability", "predictions": "prediction", "classes": "class"}
    del own["model_version"]
    if "classes" in own:
        names["probabilities"] = "probabilities"
    found = {
        "own": [dict(zip((names[name] for name in own), row, strict=True)) for row in zip(*own.values(), strict=True)]
    }
    path = f"/v2/models/{client.get('/v1/model').json()['use_case']}/infer"
    found["infer"] = inferred(client.post(path, json={"inputs": tensors(rows)}).raise_for_status().json())
    content, headers = binary(rows)
    found["infer, binary"] = inferred(client.post(path, content=content, headers=headers).raise_for_status().json())
    for name, (content, headers) in scoring_bodies(rows).items():
        answer = client.post("/invocations", content=content, headers=headers).raise_for_status()
        found[name] = answer.json()["predictions"]
    return found


def line(answer: httpx.Response) -> str:
    """The line of an error, in either dialect's words."""
    body = answer.json()
    assert body.keys() in ({"error"}, {"error_code", "message"}), body
    return str(body.get("error") or body["message"])
