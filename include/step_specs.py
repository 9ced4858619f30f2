"""What runs as a container, as data: each step's module, image, resources, deadline and pool.

DAG files read it, so it imports nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.use_case import UseCaseSpec

VERSION = "0.1.0"
"""The tag of the images."""


class Image(StrEnum):
    """The images that steps run in; `docker/<name>` builds each."""

    STEP = "step"
    SPARK = "spark"


class PodRuntime(StrEnum):
    """What runs a step's pod: a cluster, or in its place a process of this machine."""

    KUBERNETES = "kubernetes"
    PROCESS = "process"


class Pool(StrEnum):
    """The Airflow pools (airflow_settings.yaml) that bound how much runs at once."""

    DEFAULT = "default_pool"
    SPARK = "spark"
    TRAINING = "training"


class Data(StrEnum):
    """What steps read and write: families of datasets, `{…}` stands for each one that the use case has.

    Each has one writer. What is in service is no dataset: deploy, smoke_test and rollback change it.
    """

    SOURCE = "source/{topic}"
    RAW = "raw/{topic}"
    QUARANTINE = "quarantine/{topic}"
    FEATURES = "features/{horizon}"
    QUALITY = "quality/{checked}"
    DATA_DOCS = "data_docs"
    PREDICTIONS_PAGE = "data_docs/predictions"
    CANDIDATES = "candidates/{candidate}"
    DECISIONS = "decisions/champion"
    CHAMPION = "champion"
    MODELS = "models"
    PREDICTIONS = "predictions/{horizon}"
    LOOKUPS = "lookups/{horizon}"
    MESSAGES = "messages/{stream}"
    TABLES = "tables/{table}"
    INTRADAY_FEATURES = "features/intraday"
    INTRADAY_PREDICTIONS = "predictions/intraday"
    INTRADAY_LOOKUPS = "lookups/intraday"

    def names(self, spec: UseCaseSpec) -> list[str]:
        """The datasets of this family, in the order of the spec."""
        each = {
            "{topic}": [topic.name for topic in spec.topics],
            "{horizon}": [horizon.name for horizon in spec.horizons],
            "{candidate}": list(spec.candidates),
        }
        for placeholder, names in each.items():
            if placeholder in self:
                return [self.replace(placeholder, name) for name in names]
        return [str(self)]


@dataclass(frozen=True)
class Resources:
    """What a container asks for and may use at most, as Kubernetes quantities."""

    cpu: str
    memory: str
    cpu_limit: str
    memory_limit: str


STARTUP = timedelta(minutes=10)  # a node is found or made, an image is pulled

LIGHT = Resources(cpu="250m", memory="512Mi", cpu_limit="1", memory_limit="1Gi")
HEAVY = Resources(cpu="1", memory="1Gi", cpu_limit="2", memory_limit="2Gi")
SPARK = Resources(cpu="1", memory="2Gi", cpu_limit="2", memory_limit="4Gi")


@dataclass(frozen=True)
class StepSpec:
    """One step: `name` is its task id, `module` is what `python -m` runs, `deadline` ends it by force.

    `reads` and `writes` are what it takes and makes; a step that writes Data Docs, or their page of predictions,
    has a task that links there.
    """

    name: str
    module: str
    summary: str
    deadline: timedelta
    image: Image = Image.STEP
    resources: Resources = LIGHT
    pool: Pool = Pool.DEFAULT
    reads: tuple[Data, ...] = ()
    writes: tuple[Data, ...] = ()

    @property
    def timeout(self) -> timedelta:
        """How long Airflow follows the step: its deadline, and the time a cluster may take to start it."""
        return self.deadline + STARTUP


EXTRACT = StepSpec(
    "extract",
    "include.steps.extract",
    "Reads the data day, and whatever is missing of its history, from the source into raw partitions.",
    timedelta(minutes=20),
    resources=HEAVY,
    reads=(Data.SOURCE,),
    writes=(Data.RAW, Data.QUARANTINE),
)
FEATURES = StepSpec(
    "features",
    "spark_jobs.features",
    "Computes every missing feature partition of both horizons, point in time, in one Spark job.",
    timedelta(minutes=60),
    image=Image.SPARK,
    resources=SPARK,
    pool=Pool.SPARK,
    reads=(Data.RAW,),
    writes=(Data.FEATURES,),
)
VALIDATE = StepSpec(
    "validate",
    "include.steps.validate",
    "Holds raw and feature partitions against their contracts. A hard failure stops the run; the champion stays.",
    timedelta(minutes=20),
    resources=HEAVY,
    reads=(Data.RAW, Data.FEATURES),
    writes=(Data.QUALITY, Data.DATA_DOCS),
)
TRAIN = StepSpec(
    "train",
    "include.steps.train",
    "Fits one candidate: once up to the hold-out days, to be judged, and once on everything, to be shipped.",
    timedelta(minutes=30),
    resources=HEAVY,
    pool=Pool.TRAINING,
    reads=(Data.RAW, Data.FEATURES),
    writes=(Data.CANDIDATES,),
)
CHOOSE = StepSpec(
    "choose",
    "include.steps.choose",
    "Judges candidates and champion on days that neither was trained on, and decides by the gates.",
    timedelta(minutes=15),
    resources=HEAVY,
    reads=(Data.CANDIDATES, Data.CHAMPION, Data.RAW, Data.FEATURES),
    writes=(Data.DECISIONS,),
)
REGISTER = StepSpec(
    "register",
    "include.steps.register",
    "Records decision, model and model card in the registry; moves the champion's alias if it was won.",
    timedelta(minutes=10),
    reads=(Data.FEATURES, Data.CANDIDATES, Data.DECISIONS),
    writes=(Data.CHAMPION, Data.MODELS),
)
SCORE = StepSpec(
    "score",
    "include.steps.score",
    "Publishes one prediction for each scheduled example, by a version that had not seen its day.",
    timedelta(minutes=15),
    resources=HEAVY,
    reads=(Data.RAW, Data.FEATURES, Data.DECISIONS, Data.CHAMPION, Data.MODELS),
    writes=(Data.PREDICTIONS, Data.LOOKUPS, Data.PREDICTIONS_PAGE),
)
DEPLOY = StepSpec(
    "deploy",
    "include.steps.deploy",
    "Puts the champion's model file into service. A backfill of old days never replaces what is served.",
    timedelta(minutes=10),
    reads=(Data.CHAMPION, Data.FEATURES, Data.MODELS),
)
SMOKE_TEST = StepSpec(
    "smoke_test",
    "include.steps.smoke_test",
    "Asks the service about rows that were scored. A wrong answer puts the previous model back and fails.",
    timedelta(minutes=10),
    reads=(Data.FEATURES, Data.PREDICTIONS, Data.MODELS),
)
ROLLBACK = StepSpec(
    "rollback",
    "include.steps.rollback",
    "Puts the previously served model, or a version that is named, back into service.",
    timedelta(minutes=10),
)

NIGHTLY = (EXTRACT, FEATURES, VALIDATE, TRAIN, CHOOSE, REGISTER, SCORE, DEPLOY, SMOKE_TEST)

WORK = StepSpec(
    "work",
    "include.steps.work",
    "Consumes a topic into its table until the shift ends; what is left stays in the topic for the next shift.",
    timedelta(hours=1),
    reads=(Data.MESSAGES,),
    writes=(Data.TABLES,),
)
INTRADAY_FEATURES = StepSpec(
    "intraday_features",
    "spark_jobs.intraday_features",
    "Computes the features of the examples that are due within the next hours, from what is known by now.",
    timedelta(minutes=15),
    image=Image.SPARK,
    resources=SPARK,
    pool=Pool.SPARK,
    reads=(Data.TABLES, Data.RAW),
    writes=(Data.INTRADAY_FEATURES,),
)
SCORE_INTRADAY = StepSpec(
    "score_intraday",
    "include.steps.score_intraday",
    "Publishes a prediction for each of them, by the newest version that had not seen their day.",
    timedelta(minutes=5),
    reads=(Data.INTRADAY_FEATURES, Data.CHAMPION, Data.MODELS),
    writes=(Data.INTRADAY_PREDICTIONS, Data.INTRADAY_LOOKUPS),
)


def written_by(module: str, spec: UseCaseSpec) -> list[str]:
    """The datasets that the step of a module writes, one for each topic or horizon; none for any other module."""
    steps = (step for step in NIGHTLY if step.module == module)
    return [name for step in steps for data in step.writes if "{" in data for name in data.names(spec)]
