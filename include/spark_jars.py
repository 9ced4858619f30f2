"""The jars of S3 access, put beside Spark's own once, when an image is built: `python -m include.spark_jars`."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

from include.settings import Settings
from include.spark import JARS, hadoop_aws, spark_session


def add(jars: Path = JARS) -> list[str]:
    """Download what `s3://` needs into a folder of jars; the files' names, none if they are there."""
    package = hadoop_aws(jars)
    if not package:
        return []
    with spark_session(Settings(spark_master="local[1]", spark_packages=package), "jars") as spark:
        found = spark.sparkContext.getConf().get("spark.repl.local.jars", "").split(",")
    files = [Path(unquote(urlparse(uri).path)) for uri in found if uri]
    return sorted(Path(shutil.move(file, jars)).name for file in files)


if __name__ == "__main__":
    print("\n".join(add()))
