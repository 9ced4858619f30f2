"""Where Spark finds what it needs to open a lake on S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from include import spark_jars
from include.settings import Settings
from include.spark import configuration, hadoop_aws

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
