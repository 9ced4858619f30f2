"""Parse time of all DAG files, as a ratio to a folder that holds one DAG with one bare KubernetesPodOperator.

    python -m benchmarks.parse [rounds]

Each measurement is a fresh process that has imported Airflow's DagBag, as Airflow's DAG processor has, and then times
filling it: modules that the files import are part of it (most of it is the provider's import of the Kubernetes client).
Seconds are the process's own (CPU) time, so that a busy machine does not blur them. The two folders take turns; the
ratio is the median of the rounds' ratios. Needs no database.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 7

BARE = """
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

with DAG("bare", schedule=None):
    KubernetesPodOperator(task_id="bare", image="bare:1", cmds=["true"])
"""

MEASURE = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
start = time.process_time()
bag = DagBag(sys.argv[1])
seconds = time.process_time() - start
assert bag.dags and not bag.import_errors, bag.import_errors
print(seconds)
"""


def measure(folder: Path, home: Path) -> float:
    """CPU seconds that one fresh process takes to parse a folder."""
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)], env=environment, cwd=home, stdout=subprocess.PIPE, check=True
    )
    return float(done.stdout.split()[-1])


def main(rounds: int = ROUNDS) -> None:
    """Measure, print a line for each round and the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        home, bare_folder = Path(folder, "home"), Path(folder, "bare")
        home.mkdir()
        bare_folder.mkdir()
        (bare_folder / "bare.py").write_text(BARE, encoding="utf-8")
        ours: list[float] = []
        theirs: list[float] = []
        measure(bare_folder, home)  # the first one writes airflow.cfg and byte code
        measure(ROOT / "dags", home)
        for number in range(rounds):
            theirs.append(measure(bare_folder, home))
            ours.append(measure(ROOT / "dags", home))
            print(f"round {number + 1}: one bare pod {theirs[-1]:.3f} s, our DAG files {ours[-1]:.3f} s", flush=True)
    ratio = statistics.median(mine / bare for mine, bare in zip(ours, theirs, strict=True))
    figures = {"ratio": ratio, "seconds": statistics.median(ours), "bare_seconds": statistics.median(theirs)}
    print(
        json.dumps({"bench": "parse", **{name: round(value, 3) for name, value in figures.items()}, "rounds": rounds})
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
