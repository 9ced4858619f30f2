"""The bare spike: an ASGI function, msgspec and ONNX Runtime, and nothing a service needs besides.

    python -m benchmarks.bare_server MODEL PORT

No keys, no limits, no metrics, no logs, no deployment: near the limit of what Python's HTTP gives.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import numpy as np
import uvicorn

from formats.portable_model import InputKind, ModelInput, PortableModel


class Bare:
    """The application."""

    def __init__(self, model: PortableModel) -> None:
        row: Any = msgspec.defstruct("Row", [(column.name, _type(column)) for column in model.inputs])
        rows: Any = msgspec.defstruct("Rows", [("rows", list[row])])
        self._answers = model.encoded
        self._codes = [
            (place, {value: float(code) for code, value in enumerate(column.categories)})
            for place, column in enumerate(model.inputs)
            if column.kind is InputKind.CATEGORY
        ]
        self._decode = msgspec.json.Decoder(rows).decode
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, whatever its path."""
        body = (message := await receive())["body"]
        while message.get("more_body"):
            body += (message := await receive())["body"]
        content = self._encode({"probabilities": self._answer(body)})
        length = str(len(content)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _answer(self, body: bytes) -> list[float]:
        rows = []
        for row in self._decode(body).rows:
            values = list(msgspec.structs.astuple(row))
            for place, codes in self._codes:
                values[place] = codes.get(values[place])
            rows.append(values)
        answers: list[float] = self._answers(np.array(rows, dtype=np.float64)).tolist()
        return answers


def _type(column: ModelInput) -> Any:
    return str | None if column.kind is InputKind.CATEGORY else float | None


def main() -> None:
    """Serve a model file on a port of this machine."""
    app = Bare(PortableModel.open(sys.argv[1]))
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[2]), loop="uvloop", http="httptools", lifespan="off",
        access_log=False, log_level="error",
    )  # fmt: skip


if __name__ == "__main__":
    main()
