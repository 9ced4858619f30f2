"""Data Docs as pages beside Airflow's UI: read from the lake, shown to whoever is logged in there.

A lake is a folder or a bucket; a browser opens neither from a page of Airflow's.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path, PurePosixPath
from typing import Annotated

from airflow.api_fastapi.core_api.security import get_user
from airflow.models.variable import Variable
from fastapi import Depends, FastAPI, HTTPException, Response

from include.errors import StepError
from include.storage.store import Store, open_store

ROOT = Path(__file__).resolve().parents[1]

app = FastAPI(title="Data Docs", openapi_url=None)


def lake() -> Store:
    """The lake of this deployment, where its steps find it: a relative folder is one of the project's root."""
    place = Variable.get("nightshift_lake", default_var="") or ".nightshift/lake"
    if "://" not in place:
        place = str(ROOT / place)
    return open_store(place, s3_endpoint=Variable.get("nightshift_s3_endpoint", default_var="") or None)


@app.get("/{use_case}/{page:path}", dependencies=[Depends(get_user)])
def read(use_case: str, page: str, store: Annotated[Store, Depends(lake)]) -> Response:
    """One file of a use case's Data Docs."""
    if ".." in (use_case, *PurePosixPath(page).parts):
        raise HTTPException(404, "no such page")
    try:
        content = store.read(f"{use_case}/data_docs/{page}")
    except (FileNotFoundError, IsADirectoryError):
        raise HTTPException(404, f"no Data Docs at {page}: validation has not published them") from None
    except StepError as error:
        raise HTTPException(503, str(error)) from None
    return Response(content, media_type=mimetypes.guess_type(page)[0] or "application/octet-stream")
