"""Data Docs as pages beside Airflow's UI: read from the lake, shown to users who are logged in there.

A lake is a folder or a bucket; a browser opens neither from a page of Airflow's.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated

from airflow.api_fastapi.core_api.security import get_user
from airflow.models.variable import Variable
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

from include.errors import StepError
from include.quality.data_docs import POLICY
from include.storage.store import open_store
from stores.folder import FileStore
from stores.store import Store

ROOT = Path(__file__).resolve().parents[1]

HEADERS = {
    "Content-Security-Policy": f"sandbox; {POLICY}; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""These pages show values of the data on Airflow's own origin, so they are sandboxed and have no access to it."""
LONGEST_NAME = 255
"""Bytes of one part of a path; no file system accepts more."""

app = FastAPI(title="Data Docs", openapi_url=None)


def lake() -> Store:
    """The lake of this deployment, where its steps find it: a relative folder is one of the project's root."""
    place = Variable.get("nightshift_lake", default_var="") or ".nightshift/lake"
    if "://" not in place:
        place = str(ROOT / place)
    return open_store(place, s3_endpoint=Variable.get("nightshift_s3_endpoint", default_var="") or None)


@app.middleware("http")
async def guarded(request: Request, answered: RequestResponseEndpoint) -> Response:
    """Every answer has `HEADERS`, errors included."""
    response = await answered(request)
    response.headers.update(HEADERS)
    return response


@app.api_route("/{use_case}/{page:path}", methods=["GET", "HEAD"], dependencies=[Depends(get_user)])
def read(use_case: str, page: str, request: Request, store: Annotated[Store, Depends(lake)]) -> Response:
    """One file of a use case's Data Docs."""
    try:
        content = store.read(_name(store, use_case, page))
    except (FileNotFoundError, IsADirectoryError):
        raise HTTPException(404, "no such page: no step has published it") from None
    except StepError as error:
        raise HTTPException(503, str(error)) from None
    media_type = mimetypes.guess_type(page)[0] or "application/octet-stream"
    if request.method == "HEAD":
        return Response(headers={"Content-Length": str(len(content))}, media_type=media_type)
    return Response(content, media_type=media_type)


def _name(store: Store, use_case: str, page: str) -> str:
    """The file's name in the lake; `FileNotFoundError` for one that is none of these Data Docs."""
    parts = [use_case, *page.split("/")]
    if any(part in ("", ".", "..") or not part.isprintable() or len(part.encode()) > LONGEST_NAME for part in parts):
        raise FileNotFoundError
    folder = f"{use_case}/data_docs"
    if isinstance(store, FileStore) and not _inside(store.root / folder, page):
        raise FileNotFoundError
    return f"{folder}/{page}"


def _inside(folder: Path, page: str) -> bool:
    """Whether it is a file of that folder, wherever symbolic links lead."""
    try:
        file = (folder / page).resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return file.is_relative_to(folder.resolve()) and file.is_file()
