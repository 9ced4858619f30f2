"""What this project uses of MLflow beyond its public interface."""

from __future__ import annotations

import inspect

from mlflow.server import constants
from mlflow.store.artifact.artifact_repository_registry import (
    _artifact_repository_registry,
    get_artifact_repository,
)
from mlflow.store.db.base_sql_model import Base
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from local import mlflow, tracking_server


def test_mlflow_still_makes_all_its_tables_when_the_registry_is_first_used() -> None:
    assert "model_version_tags" in Base.metadata.tables
    assert "model_version_tags" in inspect.getsource(mlflow.Mlflow._has_tables)
    first_use = inspect.getsource(SqlAlchemyStore.__init__)
    assert "_all_tables_exist" in first_use
    assert "_initialize_tables" in first_use


def test_mlflow_still_opens_artifacts_by_this_registry() -> None:
    registered = _artifact_repository_registry.get_registered_artifact_repositories()
    assert {"", "file", "s3", "runs", "models", "mlflow-artifacts"} <= set(registered)
    assert list(inspect.signature(_artifact_repository_registry.register).parameters) == ["scheme", "repository"]
    assert "_artifact_repository_registry" in inspect.getsource(get_artifact_repository)


def test_mlflow_still_tells_a_folder_from_a_bucket_by_these_functions() -> None:
    assert is_local_uri("/a/folder")
    assert is_local_uri("file:///a/folder")
    assert not is_local_uri("s3://bucket/folder")
    assert local_file_uri_to_path("file:///a%20folder") == "/a folder"


def test_mlflow_still_hands_its_server_its_places_by_these_variables() -> None:
    served = inspect.getsource(tracking_server.main)
    assert f'"{constants.BACKEND_STORE_URI_ENV_VAR}"' in served
    assert f'"{constants.ARTIFACT_ROOT_ENV_VAR}"' in served


def test_mlflow_still_has_its_server_as_this_application() -> None:
    from mlflow import server

    started = inspect.getsource(server)
    assert "mlflow.server.fastapi_app:app" in started


def test_mlflow_still_finds_a_models_code_by_its_name_alone() -> None:
    from mlflow.pyfunc.model import _load_context_model_and_signature

    assert "os.path.basename(conf_model_code_path)" in inspect.getsource(_load_context_model_and_signature)
