import copy
import json
from typing import Any

import pytest

from loadtest.answers import WrongAnswerError, checked, joined
from loadtest.questions import Question

GENERATE = Question("generate", "writer", {"model": "writer", "prompt": "O", "max_tokens": 4})
TRANSLATE = Question("translate", "t", {"model": "t", "text": "yes"}, languages=("en", "zh"))
SENTIMENT = Question("sentiment", "s", {"model": "s", "text": "good"}, labels=("bad", "good"), label="good")
ANSWERS: dict[str, dict[str, Any]] = {
    "generate": {
        "model": "writer/3",
        "choices": [{"text": "ah", "finish_reason": "length"}],
        "usage": {"completion_tokens": 2},
    },
    "translate": {"model": "t/1", "source": "en", "target": "zh", "translations": [{"text": "是", "score": -0.1}]},
    "sentiment": {
        "model": "s/1",
        "results": [{"label": "good", "score": 0.9, "scores": {"bad": 0.1, "good": 0.9}}],
    },
}
QUESTIONS = {"generate": GENERATE, "translate": TRANSLATE, "sentiment": SENTIMENT}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_a_right_answer_gives_the_part_to_compare(kind: str) -> None:
    part = {"generate": "choices", "translate": "translations", "sentiment": "results"}[kind]
    assert checked(QUESTIONS[kind], ANSWERS[kind]) == ANSWERS[kind][part][0]


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("generate", ("model",), "other/3"),
        ("generate", ("choices",), []),
        ("generate", ("choices", 0, "text"), ""),
        ("generate", ("choices", 0, "finish_reason"), None),
        ("generate", ("usage", "completion_tokens"), 5),
        ("translate", ("target",), "en"),
        ("translate", ("translations", 0, "text"), ""),
        ("translate", ("translations", 0, "score"), 0.1),
        ("translate", ("translations",), [{"text": "a", "score": -1.0}] * 2),
        ("sentiment", ("results", 0, "label"), "neutral"),
        ("sentiment", ("results", 0, "label"), "bad"),
        ("sentiment", ("results", 0, "score"), 0.8),
        ("sentiment", ("results", 0, "scores"), {"good": 0.9, "bad": 0.4}),
        ("sentiment", ("results", 0, "scores"), None),
    ],
)
def test_each_wrong_part_is_found(kind: str, path: tuple[Any, ...], value: Any) -> None:
    answer = copy.deepcopy(ANSWERS[kind])
    place: Any = answer
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(WrongAnswerError, match=f"^{kind} .*wanted .*got"):
        checked(QUESTIONS[kind], answer)


def event(text: str, **more: Any) -> str:
    return json.dumps({"model": "writer/1", "choices": [{"text": text, "finish_reason": None}], **more})


def test_a_stream_is_joined_to_the_answer_that_it_makes() -> None:
    answer = joined([event("a"), event("h", usage={"completion_tokens": 2}), "[DONE]"])
    assert answer["choices"][0]["text"] == "ah"
    assert answer["usage"] == {"completion_tokens": 2}


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([event("a")], "without"),
        (["[DONE]"], "no event"),
        ([event("a"), "[DONE]", event("b")], "after"),
        ([event("a"), '{"error": {"message": "late"}}', "[DONE]"], "late"),
    ],
)
def test_a_stream_that_does_not_end_well_is_wrong(events: list[str], reason: str) -> None:
    with pytest.raises(WrongAnswerError, match=reason):
        joined(events)
