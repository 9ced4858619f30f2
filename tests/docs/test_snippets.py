"""What the documentation tells a person to type, typed: snippets run, commands exist, links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from include.settings import MODELS
from include.storage.lake import Layer
from tests.checkout import Checkout

ROOT = Path(__file__).resolve().parents[2]
ROOT_PAGES = ("AGENTS.md", "CONTRIBUTING.md", "README.md")
PAGES = sorted([*(ROOT / name for name in ROOT_PAGES), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDED = {
    "docs/data-quality.md": (
        "from datetime import date\n"
        "from include.settings import Settings\n"
        "from include.sources.source import Source\n"
        "from include.sources.tabular import Files, TabularSource\n"
    ),
    "docs/reading.md": (
        "import os, pathlib\n"
        "from datetime import date, timedelta\n"
        "import pyarrow as pa\n"
        "from include.step import open_context\n"
        "from include.storage.delta_log import follow\n"
        "from include.storage.lake import Dataset, Layer\n"
        "pathlib.Path('.nightshift').mkdir()\n"
        "pathlib.Path('.nightshift/lake').symlink_to('../lake')\n"
        "lake = open_context('include.use_cases.flight_delay').lake\n"
        "published = {'predictions.parquet': pa.table({'probability': [0.5, 0.25]})}\n"
        "lake.publish(Dataset(Layer.PREDICTIONS, 'nightly').on(date(2013, 10, 2)), published)\n"
        "follow(lake, grace=timedelta(days=7))\n"
    ),
}
"""What a page's Python takes as known."""
ELSEWHERE = ("docs/learn/", "docs/models.md")
"""Whose Python runs in other tests: the lessons' below, the models' in tests/include/model_registry."""
BEGINS = "lesson: "
LESSONS = sorted((ROOT / "docs" / "learn").glob("[0-9]*.md"))
OF_THE_GUIDE = {
    "flight_delay": "yours",
    "predictions/nightly/data_day=2013-10-02": "predictions/evening_before/data_day=2026-06-16",
    '"nightly").on(date(2013, 10, 2))': '"evening_before").on(date(2026, 6, 16))',
    "features/nightly": "features/evening_before",
    "2013-10-01": "2026-06-15",
}
"""What the lessons say of the sample, and what that is in the use case of the guide, whose stack is small."""
SEEN = {
    "1-containers": ("extract: ", "exit code 78"),
    "2-kubernetes": (
        "activeDeadlineSeconds: 1800",
        "--candidate=hist_gradient_boosting",
        "readOnlyRootFilesystem: true",
    ),
    "3-sql": ("revision: 0005", "within the transaction: 1", "after it was rolled back: 0"),
    "4-storage": ("predictions", "rows, as published"),
    "5-airflow": ("yours_nightly_training", "success"),
    "6-spark": ("Exchange hashpartitioning(date", "pieces,"),
    "7-tracking": ("trained_through", "sha256"),
    "8-serving": ('"probabilities":[', " ms"),
}
"""What a reader of a lesson sees, among other things."""


def snippets(*languages: str) -> Iterator[tuple[str, str]]:
    """Page and text of each fenced block in one of the languages."""
    for page in PAGES:
        for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                yield str(page.relative_to(ROOT)), text


def lines(*languages: str) -> Iterator[tuple[str, str]]:
    """Page and command of each line of shell."""
    for page, text in snippets(*languages):
        for line in text.replace("\\\n", " ").splitlines():
            if command := line.partition("  #")[0].strip():
                yield page, command


@pytest.mark.stack
@pytest.mark.parametrize(("page", "text"), [each for each in snippets("python") if not each[0].startswith(ELSEWHERE)])
def test_python_runs(page: str, text: str, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NIGHTSHIFT_")},
        "PYTHONPATH": str(ROOT),
        "NIGHTSHIFT_LAKE": (tmp_path / "lake").as_uri(),
    }
    done = subprocess.run(
        [sys.executable, "-c", NEEDED.get(page, "") + text],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "print(" not in text or "rows" in done.stdout, done.stdout


@pytest.mark.stack
@pytest.mark.airflow
@pytest.mark.spark
def test_the_guide_the_readme_and_the_lessons_can_be_typed_in_one_shell(tmp_path: Path) -> None:
    """A use case is a folder: copied, renamed and run as the guide says, with no file outside knowing of it."""
    if not Path(sys.prefix, "installed").exists():
        pytest.skip("make has not installed this environment, and would begin to")
    checkout = Checkout.make(tmp_path / "my night shift", "include.use_cases.yours")
    os.utime(checkout.root / "requirements.lock", (0, 0))  # installed already
    # Given a shell that has what the README's settings are for, and a day whose history is short
    shell = {name: value for name, value in checkout.environment.items() if name != "NIGHTSHIFT_USE_CASES"}
    shell |= {"NIGHTSHIFT_HOST": "127.0.0.1", "NIGHTSHIFT_POD_RUNTIME": "process", "DATE": "2026-06-15"}
    # When the guide is typed line by line, then the README, and then the lessons
    script = typed("docs/adapting.md") + typed("README.md")
    for page in LESSONS:
        lesson = typed(str(page.relative_to(ROOT)))
        for sample, ours in OF_THE_GUIDE.items():
            lesson = lesson.replace(sample, ours)
        script += f"echo {BEGINS}{page.stem}\n{lesson}"
    for server, port in (("SERVING", 8890), ("MLFLOW", 5000)):
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{shell[f'NIGHTSHIFT_{server}_PORT']}")
    try:
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],
            cwd=checkout.root,
            env=shell,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=1200,
        )
        # Then every line of it works, and a model of the new use case is in force
        assert done.returncode == 0, done.stdout[-4000:]
        visits = checkout.table(Layer.RAW, "visits", "2026-06-16")
        predictions = checkout.table(Layer.PREDICTIONS, "evening_before", "2026-06-16")
        assert predictions["shop_day"].to_pylist() == visits["shop_day"].to_pylist()
        assert "hist_gradient_boosting: promoted" in done.stdout
        # And each lesson shows what it is about
        shown = dict(part.split("\n", 1) for part in done.stdout.split(BEGINS)[1:])
        assert shown.keys() == SEEN.keys()
        missing = {name: [words for words in SEEN[name] if words not in shown[name]] for name in SEEN}
        assert {name: [*words, shown[name]] for name, words in missing.items() if words} == {}
    finally:
        checkout.command("down")


def typed(name: str) -> str:
    """A page's shell and Python, in its order, as one script."""
    text = ""
    for language, block in FENCE.findall((ROOT / name).read_text(encoding="utf-8")):
        if language == "bash":
            text += block
        elif language == "python":
            text += f".venv/bin/python - <<'END'\n{block}END\n"
    return text


@pytest.mark.parametrize(("page", "command"), lines("bash", "sh"))
def test_shell_names_what_exists(page: str, command: str) -> None:
    words = [word for word in shlex.split(command) if not re.match(r"^[A-Z_]+=", word)]
    if not words or words[0] == "export":
        assert command.split("=", maxsplit=1)[0].rsplit(maxsplit=1)[-1] in known_settings(), command
    elif words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:2]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif "-m" in words:
        assert importlib.util.find_spec(words[words.index("-m") + 1]), command
    else:
        others = {"git", "cd", "cp", "sed", "kubectl", "docker", "curl", "helm", "ls", "du", ".venv/bin/pre-commit"}
        assert words[0] in others, f"{page}: nobody checks {command!r}"


@pytest.mark.parametrize(("page", "text"), snippets("yaml", "json"))
def test_data_can_be_read(page: str, text: str) -> None:
    assert yaml.safe_load(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)", page.read_text(encoding="utf-8"))
    lost = [target for target in targets if "://" not in target and not _leads_somewhere(page, target)]
    assert lost == []


def _leads_somewhere(page: Path, target: str) -> bool:
    """Whether the file is there and has the heading, whose anchor is made as GitHub makes it."""
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    if not path.exists() or not anchor:
        return path.exists()
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_lists_every_page() -> None:
    listed = set()
    for index in (ROOT / "docs" / "README.md", *(ROOT / "docs").glob("*/README.md")):
        listed |= {(index.parent / name).resolve() for name in re.findall(r"\]\(([^)#]+)", index.read_text())}
    assert {page for page in PAGES if page.name not in ("AGENTS.md", "README.md")} <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_is_one_that_the_code_knows(page: Path) -> None:
    named = set(re.findall(r"\b(?:NIGHTSHIFT|SERVING)_[A-Z0-9_]*[A-Z0-9]\b", page.read_text(encoding="utf-8")))
    assert named - known_settings() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(page: Path) -> None:
    folders = "include|formats|stores|local|plugins|dags|spark_jobs|serving|tests|infra|docker|benchmarks"
    named = re.findall(rf"`((?:{folders})/[\w./]+)`", page.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]


def known_settings() -> set[str]:
    """The environment variables that a person may set."""
    from include.use_cases.flight_delay.serving.settings import SETTINGS
    from serving.settings import ServingSettings

    known = (
        {variable for model in MODELS for variable in model.variables()}
        | set(ServingSettings.variables())
        | set(SETTINGS.variables())
    )
    for folder in ("include", "dags", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            known |= set(re.findall(r"\b(?:NIGHTSHIFT|AWS)_[A-Z0-9_]*[A-Z0-9]\b", path.read_text(encoding="utf-8")))
    return known


INDEX = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")


KINDS = re.findall(r"^\| \[.+?\]\(((?!\.\.)\S+?)\) \| (\S+) \|", INDEX, re.MULTILINE)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_page_is_of_the_kind_that_the_index_says(name: str, kind: str) -> None:
    first = (ROOT / "docs" / name).read_text(encoding="utf-8").split("\n")[2]
    assert first.lower().startswith(kind), f"{name} begins with {first[:40]!r}"
