"""Spark as a reader of its own environment: a line `delta <folder>` or `glob <folder>` in, its rows as JSON out."""

import json
import sys

from pyspark.sql import SparkSession

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.jars", sys.argv[1].replace(":", ","))
    .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.databricks.delta.snapshotPartitions", "1")
    .config("spark.driver.host", "127.0.0.1")
    .getOrCreate()
)
for line in sys.stdin:
    how, _, folder = line.rstrip("\n").partition(" ")
    rows = spark.read.format("delta").load(folder) if how == "delta" else spark.read.parquet(folder)
    found = rows.selectExpr("cast(data_day AS string)", "amount").collect()
    print(json.dumps(sorted(list(row) for row in found)), flush=True)
