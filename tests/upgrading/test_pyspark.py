"""What this project uses of PySpark and Py4J beyond their public interface; no Java is started."""

from __future__ import annotations

import inspect
import logging
import re
import zipfile
from pathlib import Path

import pyspark
from py4j.java_gateway import GatewayClient, JavaGateway
from py4j.java_gateway import logger as py4j_logger
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext, java_gateway
from pyspark.errors.exceptions import base
from pyspark.errors.exceptions.captured import CapturedException
from pyspark.sql import SparkSession

from include.spark import DEFAULTS, INTERPRETED, JARS, VECTOR_MODULE, hadoop_aws


def compiled(jar: str, name: str) -> bytes:
    """A class of one of Spark's jars, as it is compiled."""
    (path,) = JARS.glob(jar)
    with zipfile.ZipFile(path) as classes:
        return classes.read(f"org/apache/spark/{name}.class")


def test_pyspark_still_keeps_its_java_process_on_the_gateway() -> None:
    assert "gateway.proc = proc" in inspect.getsource(java_gateway.launch_gateway)
    assert hasattr(SparkContext, "_gateway")


def test_pyspark_still_remembers_its_session_in_these_four_places() -> None:
    for place in ("_active_spark_context", "_gateway", "_jvm"):
        assert place in vars(SparkContext)
    assert "_instantiatedSession" in vars(SparkSession)
    assert "if not SparkContext._gateway" in inspect.getsource(SparkContext._ensure_initialized)


def test_py4j_still_asks_its_client_whether_java_is_there() -> None:
    assert "self._gateway_client" in inspect.getsource(JavaGateway)
    assert "self.is_connected" in inspect.getsource(GatewayClient)
    assert "java_exception" in inspect.getsource(Py4JJavaError)


def test_pyspark_still_keeps_what_java_threw_under_this_name() -> None:
    assert "self._origin = origin" in inspect.getsource(CapturedException.__init__)


def test_pyspark_still_ends_a_message_before_java_s_own_trace() -> None:
    assert "JVM stacktrace" in inspect.getsource(CapturedException.__str__)


def test_pyspark_still_logs_under_these_names() -> None:
    assert '"DataFrameQueryContextLogger"' in inspect.getsource(base)
    assert logging.getLogger("py4j") in (py4j_logger, py4j_logger.parent)


def test_spark_still_asks_java_for_the_vector_module() -> None:
    assert f"--add-modules={VECTOR_MODULE}".encode() in compiled("spark-launcher_*.jar", "launcher/JavaModuleOptions")


def test_spark_still_comes_with_its_jars_in_this_folder() -> None:
    assert Path(pyspark.__file__).parent / "jars" == JARS
    assert re.fullmatch(r"(org\.apache\.hadoop:hadoop-aws:\d+\.\d+\.\d+)?", hadoop_aws())


def test_spark_still_knows_the_settings_that_its_manual_does_not_list() -> None:
    known = compiled("spark-catalyst_*.jar", "sql/internal/SQLConf$")
    undocumented = (
        "spark.sql.requireAllClusterKeysForCoPartition",
        "spark.sql.codegen.maxFields",
        "spark.sql.codegen.factoryMode",
        "spark.sql.codegen.wholeStage",
        "spark.sql.join.preferSortMergeJoin",
    )
    for name in undocumented:
        assert name in {*DEFAULTS, *INTERPRETED}
        assert name.encode() in known
