"""What is right: the checks of an answer beyond its status. Knows nothing of HTTP and Locust."""

import json
from collections.abc import Iterable
from typing import Any

from loadtest.questions import Question


class WrongAnswerError(Exception):
    """An answer with status 200 that is not what it should be."""


def checked(question: Question, answer: Any) -> Any:
    """The part of an answer that must be the same alone and under load: texts, labels and scores.

    Args:
        question: what was asked.
        answer: the JSON of a whole answer, or what joined() made of a stream.

    Raises:
        WrongAnswerError: the model, the shape, a text, a label or a score is wrong.
    """
    _must(isinstance(answer, dict), question, "a JSON object", answer)
    _must(str(answer.get("model", "")).split("/")[0] == question.model, question, f"model {question.model}", answer)
    part: str = {"translate": "translations", "sentiment": "results"}.get(question.kind, "choices")
    found = answer.get(part)
    _must(isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict), question, f"one of {part}", found)
    item: dict[str, Any] = found[0]
    if question.kind == "sentiment":
        _check_label(question, item)
    else:
        _must(isinstance(item.get("text"), str) and item["text"] != "", question, "a text that is not empty", item)
    if question.kind.startswith("generate"):
        _must(item.get("finish_reason") in ("stop", "length"), question, "finish_reason stop or length", item)
        tokens = answer.get("usage", {}).get("completion_tokens", 0)
        _must(1 <= tokens <= question.body["max_tokens"], question, "1 to max_tokens completion_tokens", tokens)
    if question.languages:
        languages = (answer.get("source"), answer.get("target"))
        _must(languages == question.languages, question, f"languages {question.languages}", languages)
        _must(isinstance(item.get("score"), float) and item["score"] <= 0, question, "a score of 0 or less", item)
    return item


def _check_label(question: Question, item: dict[str, Any]) -> None:
    label, score = item.get("label"), item.get("score")
    scores: dict[str, float] = item.get("scores") or {}
    _must(isinstance(label, str) and label != "", question, "a label", item)
    if question.labels:
        _must(label in question.labels, question, f"a label of {question.labels}", label)
    if question.label:
        _must(label == question.label, question, f"label {question.label}", label)
    _must(
        scores.get(str(label), -1) == score == max(scores.values(), default=0),
        question,
        "the label with the highest score",
        item,
    )
    _must(abs(sum(scores.values()) - 1) < 1e-3, question, "scores that sum to 1", scores)


def joined(events: Iterable[str]) -> dict[str, Any]:
    """A stream's events, without "data: ", as the whole answer they make.

    Raises:
        WrongAnswerError: an event is an error or has no choice, or the stream does not end in [DONE].
    """
    text, last, is_done = "", {}, False
    for event in events:
        if is_done:
            raise WrongAnswerError(f"an event after [DONE]: {event[:200]}")
        if event == "[DONE]":
            is_done = True
            continue
        last = json.loads(event)
        if "error" in last:
            raise WrongAnswerError(f"an error in the stream: {event[:200]}")
        text += last["choices"][0]["text"]
    if not is_done:
        raise WrongAnswerError("the stream ended without [DONE]")
    if not last:
        raise WrongAnswerError("the stream holds no event but [DONE]")
    return {**last, "choices": [{**last["choices"][0], "text": text}]}


def _must(is_right: bool, question: Question, wanted: str, found: Any) -> None:
    if not is_right:
        raise WrongAnswerError(f"{question.kind} ({question.model}): wanted {wanted}, got {ascii(found)[:200]}")
