"""`make test-model`: the champion in an environment that holds nothing but what its requirements.txt pins.

It makes a night of ice cream in a temporary folder, a virtual environment with the packages that the champion names
(from the package index), and there loads the champion, serves it by `mlflow models serve`, and writes the Dockerfile
that `mlflow models build-docker` builds. All three must agree with the predictions that the night published.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from include.step import Context
from include.steps.register import RegisterArguments, register
from include.steps.score import ScoreArguments, score
from include.storage.lake import Dataset, Layer
from tests.include import learning
from tests.include.learning import FEATURES, GATES, KIOSKS, LAST, PACKAGE, RATES, WEATHER
from tests.serving_process import free_port

NEXT = LAST + timedelta(days=1)
CHAMPION = "models:/ice_cream@champion"
TOLERANCE = 1e-6
ROOT = Path(__file__).resolve().parents[1]
LOADING = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), re.DOTALL)[0]
ALONE = (
    LOADING
    + """
import json, sys

ours = {"formats", "include", "serving", "stores", "tests"} & {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"answers": answers["probability"].tolist(), "ours": sorted(ours)}))
"""
)
"""What docs/models.md tells somebody to run who has MLflow, a file of rows, and nothing of ours."""


def night(folder: Path, tracking_url: str) -> Context:
    """A night of ice cream whose champion has predicted the next day."""
    made = learning.context(folder, tracking_url, candidates=(WEATHER, RATES), gates=GATES)
    learning.fill(made.lake, last=NEXT)
    learning.night(made, LAST)
    register(made, RegisterArguments.model_validate({"use_case": PACKAGE, "date": LAST}))
    known = made.lake.read(FEATURES.on(NEXT))
    as_of = pa.array([NEXT] * KIOSKS).cast(pa.timestamp("us", "UTC"))
    made.lake.publish(FEATURES.on(NEXT), {"rows.parquet": known.append_column("as_of", as_of)}, force=True)
    made.lake.publish(Dataset(Layer.RAW, "plans").on(NEXT), {"rows.parquet": known})
    score(made, ScoreArguments.model_validate({"use_case": PACKAGE, "date": LAST}))
    return made


def published(made: Context) -> np.ndarray:
    """What the night published for the next day, in the order of its features."""
    answers: np.ndarray = made.lake.read(Dataset(Layer.PREDICTIONS, "morning").on(NEXT))["probability"].to_numpy()
    return answers


def alone(
    python: Path, environment: Mapping[str, str], use_case: str, rows: pa.Table, elsewhere: Path
) -> tuple[np.ndarray, list[str]]:
    """What the champion answers, loaded by MLflow in another folder, and which packages of ours that imported."""
    pq.write_table(rows, elsewhere / "features.parquet")
    argv = [str(python), "-c", ALONE.replace("flight_delay", use_case)]
    told = subprocess.run(argv, cwd=elsewhere, env=dict(environment), capture_output=True, text=True, check=True)
    found = json.loads(told.stdout.splitlines()[-1])
    return np.array(found["answers"]), found["ours"]


def without_ours(tracking_url: str) -> dict[str, str]:
    """The environment of this process, without the way to our code and with the way to MLflow."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "MLFLOW_TRACKING_URI": tracking_url,
        "PYTHONPATH": "",
    }


def main() -> None:
    """Make the night and the environment, ask, and say what was seen; an exit code other than 0 if anything differs."""
    with tempfile.TemporaryDirectory(prefix="nightshift-empty-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'mlflow.db'}"
        made = night(folder, url)
        rows = made.lake.read(FEATURES.on(NEXT))
        python = _environment(folder, url)
        environment = without_ours(url) | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        answers, ours = alone(python, environment, "ice_cream", rows, folder / "empty")
        apart = float(np.abs(answers - published(made)).max())
        print(f"loaded: {len(answers)} rows, at most {apart:.1e} from the published predictions")
        print(f"imported of ours: {', '.join(ours) or 'nothing'}")
        served = _served(python, environment, rows, folder / "empty")
        differs = float(np.abs(served - answers).max())
        print(f"served: {len(served)} rows, at most {differs:.1e} from what was loaded")
        generate = [str(python), "-m", "mlflow", "models", "generate-dockerfile", "-m", CHAMPION, "-d", "image"]
        subprocess.run(generate, cwd=folder / "empty", env=environment, check=True, capture_output=True)
        image = sorted(str(path.relative_to(folder / "empty")) for path in (folder / "empty" / "image").rglob("*"))
        print(f"image: {', '.join(image)}")
    if apart > TOLERANCE or differs > TOLERANCE or ours:
        sys.exit(1)


def _environment(folder: Path, url: str) -> Path:
    """A virtual environment with what the champion pins, and nothing else."""
    import mlflow

    mlflow.set_tracking_uri(url)
    pinned = mlflow.artifacts.download_artifacts(f"{CHAMPION}/requirements.txt", dst_path=str(folder))
    venv.create(folder / "empty", with_pip=True)
    python = folder / "empty" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", pinned], check=True)
    print(f"installed: {', '.join(Path(pinned).read_text(encoding='utf-8').split())}")
    return python


def _served(python: Path, environment: Mapping[str, str], rows: pa.Table, elsewhere: Path) -> np.ndarray:
    """What `mlflow models serve` answers."""
    table = rows.select(["forecast", "sold_out_rate"])
    asked = {"columns": table.column_names, "data": [list(row.values()) for row in table.to_pylist()]}
    port = free_port()
    argv = [str(python), "-m", "mlflow", "models", "serve", "-m", CHAMPION, "--env-manager", "local", "-p", str(port)]
    server = subprocess.Popen(argv, cwd=elsewhere, env=dict(environment))
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=json.dumps({"dataframe_split": asked}).encode(),
            headers={"Content-Type": "application/json"},
        )
        answers = _first_answer(request, server)
        return np.array([answer["probability"] for answer in answers])
    finally:
        server.terminate()
        server.wait()


def _first_answer(request: urllib.request.Request, server: subprocess.Popen[bytes]) -> list[dict[str, float]]:
    while True:
        try:
            with urllib.request.urlopen(request) as answer:
                predictions: list[dict[str, float]] = json.load(answer)["predictions"]
                return predictions
        except urllib.error.HTTPError:
            raise
        except OSError:
            if server.poll() is not None:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main()
