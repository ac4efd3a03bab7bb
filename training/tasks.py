"""The tasks by the name that a recipe gives them."""

from typing import Any

from training.language_model.task import LanguageModelTask
from training.sentiment.task import SentimentTask
from training.task import Task
from training.translation.task import TranslationTask

TASKS: dict[str, type[Task[Any, Any]]] = {
    "language-model": LanguageModelTask,
    "translation": TranslationTask,
    "sentiment": SentimentTask,
}
