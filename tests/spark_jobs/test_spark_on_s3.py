"""Where Spark finds what it needs to open a lake in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from include import spark_jars
from include.errors import SettingsError
from include.settings import Settings, load_settings
from include.spark import configuration, hadoop_aws
from spark_jobs import scratch

pytestmark = pytest.mark.spark

MINIO = Settings(lake="s3://bucket/lake", s3_endpoint="http://minio:9000")
REGION = "spark.hadoop.fs.s3a.endpoint.region"


def test_another_s3_is_signed_for_as_boto3_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    assert configuration(MINIO)[REGION] == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert configuration(MINIO)[REGION] == "eu-central-1"


def test_aws_itself_is_asked_for_the_region() -> None:
    assert REGION not in configuration(Settings(lake="s3://bucket/lake"))


def test_a_jar_in_the_image_is_not_downloaded_again(tmp_path: Path) -> None:
    assert hadoop_aws(tmp_path).startswith("org.apache.hadoop:hadoop-aws:3.")
    (tmp_path / "org.apache.hadoop_hadoop-aws-3.5.0.jar").touch()
    assert hadoop_aws(tmp_path) == ""
    assert spark_jars.add(tmp_path) == []


def test_only_a_cluster_needs_hadoops_client() -> None:
    cluster = MINIO.model_copy(update={"spark_master": "spark://host:7077"})
    assert configuration(cluster)["spark.jars.packages"] == hadoop_aws()
    assert "spark.jars.packages" not in configuration(MINIO), "Spark in this process works on a folder of this machine"
    brought = MINIO.model_copy(update={"spark_packages": "org.example:jar:1"})
    assert configuration(brought)["spark.jars.packages"] == "org.example:jar:1"


@pytest.mark.parametrize(
    ("lake", "jar"), [("gs://b/lake", "gcs-connector"), ("az://c/lake", "org.apache.hadoop:hadoop-azure")]
)
def test_a_bucket_that_spark_s_workers_cannot_read_is_refused_with_the_jar_that_is_missing(lake: str, jar: str) -> None:
    # Given workers of a Spark master, and no jar: then the first step already says so
    given = {"NIGHTSHIFT_LAKE": lake, "NIGHTSHIFT_SPARK_MASTER": "spark://host:7077"}
    with pytest.raises(SettingsError, match=rf"NIGHTSHIFT_LAKE {lake}: .*{jar}; name its version in NIGHTSHIFT_SPARK"):
        load_settings(given)
    # And with one, or without workers, it is taken
    assert load_settings({**given, "NIGHTSHIFT_SPARK_PACKAGES": f"{jar}:1"}).lake == lake
    assert load_settings({"NIGHTSHIFT_LAKE": lake}).lake == lake


def test_spark_finds_an_azure_container_by_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "ours")
    assert scratch._spark_path("az://lake/a b/x=1") == "abfss://lake@ours.dfs.core.windows.net/a b/x=1"
