from pathlib import Path
from typing import Any

from loadtest.questions import questions_from, read_texts

TEXTS = read_texts(Path("loadtest/texts.json"))


def model(name: str, task: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "task": task, "backend": "onnxruntime-cpu", **more}


def test_a_text_goes_to_models_of_its_language() -> None:
    zh_en = model("translate-zh-en", "translation", languages={"source": "zh", "target": "en"})
    questions = questions_from([zh_en, model("sentiment-zh", "sentiment", labels=["negative", "positive"])], TEXTS)
    assert [question.body["text"] for question in questions["translate"]] == TEXTS["translation"]["zh"]
    assert questions["translate"][0].languages == ("zh", "en")
    assert [question.label for question in questions["sentiment"]] == [
        item["label"] for item in TEXTS["sentiment"]["zh"]
    ]
    assert not questions["generate"]


def test_a_language_without_texts_leaves_the_kind_out() -> None:
    model_fr = model("translate-fr-en", "translation", languages={"source": "fr", "target": "en"})
    assert not questions_from([model_fr], TEXTS)["translate"]


def test_every_prompt_is_asked_whole_and_streamed() -> None:
    questions = questions_from([model("writer", "generation")], TEXTS)
    assert len(questions["generate"]) == len(questions["generate streamed"]) == len(TEXTS["generation"])
    assert all(question.body["stream"] for question in questions["generate streamed"])
    assert {question.path for question in questions["generate streamed"]} == {"/v1/generate"}


def test_labels_of_another_kind_are_not_held_against_a_model() -> None:
    (first, *_) = questions_from([model("stars", "sentiment", labels=["one", "five"])], TEXTS)["sentiment"]
    assert first.labels == ("one", "five")
    assert first.label is None


def test_the_bytes_alone_are_asked_of_a_cpu_only() -> None:
    writer = {**model("writer", "generation"), "backend": "onnxruntime-cuda"}
    assert not questions_from([writer], TEXTS)["generate"][0].is_repeatable
