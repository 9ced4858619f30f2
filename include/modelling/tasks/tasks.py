"""The task of a use case."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from formats.portable_model import ModelDescription
from formats.task import Task
from include.modelling.tasks.binary import BinaryTask
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.multiclass import MulticlassTask
from include.modelling.tasks.regression import RegressionTask
from include.use_case import UseCaseSpec

TASKS: Mapping[Task, Callable[[tuple[str, ...]], LearningTask]] = {
    Task.BINARY: lambda classes: BinaryTask(),
    Task.MULTICLASS: MulticlassTask,
    Task.REGRESSION: lambda classes: RegressionTask(),
}


def task_of(spec: UseCaseSpec) -> LearningTask:
    """The task that a spec names, with the classes it names."""
    return TASKS[spec.task](spec.classes)


def task_of_model(description: ModelDescription) -> LearningTask:
    """The task of a model file, with its classes."""
    return TASKS[Task(description.task)](description.classes)
