"""What is asked: questions made from the texts, for the models that a server has. Knows nothing of HTTP and Locust."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["generate", "generate streamed", "translate", "sentiment"]
KINDS: tuple[Kind, ...] = ("generate", "generate streamed", "translate", "sentiment")
MAX_TOKENS = 48


@dataclass(frozen=True)
class Question:
    """One request, and what is known of its answer.

    Args:
        kind: what is asked for.
        model: name of the model asked, as /v1/models gives it.
        body: the request's JSON.
        labels: sentiment: what the model may answer; empty when /v1/models does not say.
        label: sentiment: the answer that is right, None when the model does not have this label.
        languages: translation: source and target.
        is_repeatable: the answer under load has the bytes of the answer alone, which is promised on a CPU.
    """

    kind: Kind
    model: str
    body: Mapping[str, Any]
    labels: tuple[str, ...] = ()
    label: str | None = None
    languages: tuple[str, str] | None = None
    is_repeatable: bool = True

    @property
    def path(self) -> str:
        """The endpoint."""
        return "/v1/" + self.kind.split()[0]


def read_texts(path: Path) -> dict[str, Any]:
    """The file of texts: prompts, sentences by language, and sentences with their label by language."""
    texts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return texts


def questions_from(models: Sequence[Mapping[str, Any]], texts: Mapping[str, Any]) -> dict[Kind, list[Question]]:
    """Every text for every model that it suits, by kind of question.

    Args:
        models: the entries of /v1/models.
        texts: see read_texts.
    """
    questions: dict[Kind, list[Question]] = {kind: [] for kind in KINDS}
    for model in models:
        for question in _questions_for(model, texts):
            questions[question.kind].append(question)
    return questions


def _questions_for(model: Mapping[str, Any], texts: Mapping[str, Any]) -> list[Question]:
    name, task = model["id"], model["task"]
    repeatable = model["backend"].endswith("-cpu")
    if task == "generation":
        bodies = [
            {"model": name, "prompt": prompt, "max_tokens": MAX_TOKENS, "temperature": 0.7, "seed": seed}
            for seed, prompt in enumerate(texts["generation"])
        ]
        whole = [Question("generate", name, body, is_repeatable=repeatable) for body in bodies]
        return whole + [
            Question("generate streamed", name, {**body, "stream": True}, is_repeatable=repeatable) for body in bodies
        ]
    if task == "translation":
        source, target = model["languages"]["source"], model["languages"]["target"]
        return [
            Question(
                "translate",
                name,
                {"model": name, "text": text},
                languages=(source, target),
                is_repeatable=repeatable,
            )
            for text in texts["translation"].get(source, ())
        ]
    if task == "sentiment":
        labels = tuple(model.get("labels") or ())
        return [
            Question(
                "sentiment",
                name,
                {"model": name, "text": item["text"], "all_scores": True},
                labels=labels,
                label=item["label"] if item["label"] in labels else None,
                is_repeatable=repeatable,
            )
            for item in texts["sentiment"][_language_of(name, texts["sentiment"])]
        ]
    return []


def _language_of(name: str, languages: Mapping[str, Any]) -> str:
    """A classifier's language is the last part of its name ("sentiment-zh"); English where that is none."""
    last = name.rsplit("-", 1)[-1]
    return last if last in languages else "en"
