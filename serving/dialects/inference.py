"""The Open Inference Protocol, version 2, over HTTP: one tensor an input; tensors may be binary, as Triton has them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from formats.portable_model import Found, InputKind
from formats.request_rows import RequestModel, RowError, named
from serving.answer import read_body, send_json
from serving.dialects.asking import Asking, Columns, decoded, encode, in_service
from serving.dialects.operations import Operation
from serving.health import probe, require_ready
from serving.models import Models
from serving.release.served import Served

PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
PLATFORM = "onnxruntime_onnx"
"""What other servers call a model in ONNX that ONNX Runtime runs."""
BINARY = "binary_tensor_data"
"""The extension, and how its parameters and its header are called."""
LENGTH = b"inference-header-content-length"
DATATYPES = {
    "BOOL": "?", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "<u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BYTES": "O",
}  # fmt: skip
"""What the protocol calls values, and numpy; text is BYTES."""


class Tensor(msgspec.Struct, gc=False, omit_defaults=True):
    """Values, one a row or row after row, null where one is not known; without them, -1 stands for the rows."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class WantedTensor(msgspec.Struct, gc=False):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferenceRequest(msgspec.Struct, gc=False):
    """A tensor for each input of the model; without `outputs` all are answered."""

    inputs: list[Tensor]
    id: str = ""
    outputs: list[WantedTensor] | None = None
    parameters: dict[str, Any] | None = None


class InferenceAnswer(msgspec.Struct, gc=False, omit_defaults=True):
    """Tensors of one answer a row, and the version that answered."""

    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str = ""


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model: what it takes and answers."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


_NONE_OR_ONE: tuple[list[int], ...] = ([], [1])
_decode = msgspec.json.Decoder(InferenceRequest).decode


class Infer:
    """The endpoint that predicts: a plain ASGI endpoint, because it carries the load."""

    def __init__(self, models: Models, asking: Asking) -> None:
        self._models = models
        self._ask = asking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the application answers `ServingError`s."""
        path, content = scope["path_params"], await read_body(receive)
        length = next((value for name, value in scope["headers"] if name == LENGTH), b"")
        inference = _Inference(content, int(length) if length.isdigit() and len(length) < 10 else len(content))
        answering = self._models.of(path["model"])
        served, found = await self._ask(scope, len(content), inference.read, answering, path.get("version", ""))
        body, binary = inference.answer(served, found)
        headers = [(LENGTH, b"%d" % len(body))] if binary else []
        await send_json(send, 200, body + binary, headers)


class _Inference:
    """A request, read when it is its turn."""

    def __init__(self, content: bytes, length: int) -> None:
        self._content = content
        self._length = length
        self._request: InferenceRequest

    def read(self, _: RequestModel) -> Columns:
        """Its tensors as columns."""
        self._request = decoded(_decode, self._content[: self._length])
        columns, tail = {}, memoryview(self._content)[self._length :]
        for tensor in self._request.inputs:
            if tensor.datatype not in DATATYPES:
                raise _wrong(tensor, f"datatype is none of {', '.join(DATATYPES)}")
            values = tensor.data
            if values is None:
                values, tail = _from_binary(tensor, tail)
            elif len(tensor.shape) == 2:
                values = [value for row in values for value in (row if isinstance(row, list) else [row])]
            if not tensor.shape or tensor.shape[0] != len(values) or tensor.shape[1:] not in _NONE_OR_ONE:
                raise _wrong(tensor, f"shape must be [N] or [N, 1] with N values; there are {len(values)}")
            columns[tensor.name] = values
        if len(columns) < len(self._request.inputs):
            raise RowError("inputs: one of them is there twice")
        return columns

    def answer(self, served: Served, found: Found) -> tuple[bytes, bytes]:
        """The answer in JSON, and the binary tensors that follow it."""
        request, entry, outputs = self._request, served.entry, _outputs(served.model, found)
        binary: list[bytes] = []
        if request.outputs or request.parameters:
            outputs = _chosen(request, outputs, binary)
        return encode(InferenceAnswer(entry.use_case, entry.version, outputs, request.id)), b"".join(binary)


def _chosen(request: InferenceRequest, outputs: list[Tensor], binary: list[bytes]) -> list[Tensor]:
    """The outputs that are asked for; the values of those that are to be binary are moved there."""
    everywhere = (request.parameters or {}).get("binary_data_output") is True
    wanted = {one.name: one.parameters or {} for one in request.outputs or ()}
    if unknown := wanted.keys() - {one.name for one in outputs}:
        raise RowError(f"outputs: {named(min(unknown))} is none of {', '.join(one.name for one in outputs)}")
    chosen = [one for one in outputs if not wanted or one.name in wanted]
    for one in chosen:
        if wanted.get(one.name, {}).get("binary_data", everywhere) is True and one.data is not None:
            binary.append(_to_binary(one.datatype, one.data))
            one.data, one.parameters = None, {"binary_data_size": len(binary[-1])}
    return chosen


def _outputs(model: RequestModel, found: Found) -> list[Tensor]:
    """What a model answers, by its task: numbers by row; of classes also the likeliest, and their order."""
    answers = Tensor(model.answers.output, "FP64", list(found.shape), found.ravel().tolist())
    if found.ndim == 1:
        return [answers]
    classes = list(model.description.classes)
    likeliest = [classes[place] for place in found.argmax(axis=1).tolist()]
    return [
        Tensor("class", "BYTES", [len(found)], likeliest),
        answers,
        Tensor("classes", "BYTES", [len(classes)], classes),
    ]


def _from_binary(tensor: Tensor, tail: memoryview) -> tuple[list[Any], memoryview]:
    """The values of a tensor with no data of its own, and what is left of the bytes after the JSON."""
    size = (tensor.parameters or {}).get("binary_data_size", 0)
    if not isinstance(size, int) or not 0 <= size <= len(tail):
        raise _wrong(tensor, "binary_data_size is not what follows the JSON")
    content, tail = tail[:size], tail[size:]
    if tensor.datatype == "BYTES":
        try:
            return list(_texts(content)), tail
        except (struct.error, UnicodeDecodeError):
            raise _wrong(tensor, "its bytes are not text, each after its length") from None
    kind = np.dtype(DATATYPES[tensor.datatype])
    if len(content) % kind.itemsize:
        raise _wrong(tensor, f"its bytes are not a whole number of {tensor.datatype}")
    values: list[Any] = np.frombuffer(content, kind).tolist()
    return [None if math.isnan(value) else value for value in values] if kind.kind == "f" else values, tail


def _texts(content: memoryview) -> Iterator[str]:
    while content:
        (size,) = struct.unpack_from("<I", content)
        if size > len(content) - 4:
            raise struct.error
        yield str(content[4 : 4 + size], "utf-8")
        content = content[4 + size :]


def _to_binary(datatype: str, values: Iterable[Any]) -> bytes:
    if datatype != "BYTES":
        return np.array(values, DATATYPES[datatype]).tobytes()
    texts = [text.encode() for text in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _wrong(tensor: Tensor, why: str) -> RowError:
    return RowError(f"input {named(tensor.name)}: {why}")


def hot_routes(models: Models, asking: Asking) -> list[Operation]:
    """Those that predict."""
    asked = InferenceRequest([Tensor("temperature", "FP64", [1], [21.5])], "42")
    answer = InferenceAnswer("ice_cream", "7", [Tensor("probability", "FP64", [1], [0.21])], "42")
    endpoint = Infer(models, asking)
    return [
        Operation("POST", f"{path}/infer", endpoint, "One answer a row", answer=answer, asked=asked) for path in PATHS
    ]


def routes(models: Models) -> list[Operation]:
    """What is said of the server and of models."""

    async def server(request: Request) -> Response:
        return _json({**about_server, "version": request.app.version})

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(request: Request) -> Response:
        require_ready(request, models)
        return _json({"ready": True})

    async def model(request: Request) -> Response:
        return _json(_metadata(_served(request, models)))

    async def model_ready(request: Request) -> Response:
        served = _served(request, models)
        probe(request, served)
        return _json({"name": served.entry.use_case, "ready": True})

    about_server = {"name": "nightshift", "version": "0.1.0", "extensions": [BINARY]}
    tensors = [Tensor("temperature", "FP64", [-1])], [Tensor("probability", "FP64", [-1])]
    about, one_ready = ModelMetadata("ice_cream", ["7"], PLATFORM, *tensors), {"name": "ice_cream", "ready": True}
    return [
        Operation("GET", "/v2", server, "The server", answer=about_server),
        Operation("GET", "/v2/health/live", live, "Whether the process lives", answer={"live": True}),
        Operation("GET", "/v2/health/ready", ready, "Whether every model answers", answer={"ready": True}),
        *(Operation("GET", path, model, "What a model takes and answers", answer=about) for path in PATHS),
        *(
            Operation("GET", f"{path}/ready", model_ready, "Whether a model answers", answer=one_ready)
            for path in PATHS
        ),
    ]


def _served(request: Request, models: Models) -> Served:
    return in_service(models.of(request.path_params["model"]), request.path_params.get("version", ""))


def _metadata(served: Served) -> ModelMetadata:
    kinds = {InputKind.NUMBER: "FP64", InputKind.CATEGORY: "BYTES"}
    inputs = [Tensor(one.name, kinds[one.kind], [-1]) for one in served.model.inputs]
    nothing = np.zeros((0, *served.model.answers.shape))
    outputs = [
        Tensor(one.name, one.datatype, [size or -1 for size in one.shape]) for one in _outputs(served.model, nothing)
    ]
    return ModelMetadata(served.entry.use_case, [served.entry.version], PLATFORM, inputs, outputs)


def _json(body: Any) -> Response:
    return Response(encode(body), media_type="application/json")
