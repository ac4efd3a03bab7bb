"""Real text through the model that ships, over a real server: each sentence has its translation, nothing is lost."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.text.numbers import missing
from tests.end_to_end.paragraphs import PARAGRAPHS
from tests.end_to_end.real_server import RealServer, real_server

KEPT = re.compile(
    r"https?://[^\s'>]*\w|www\.[\w.]*\w|[\w.]+@[\w.]*\w|</?\w+[^>]*>|[\U0001f300-\U0001faff]|&amp;|`[^`]+`|\{\w+\}|%d|@\w+"
    r"|#\w+|/etc/[\w./]*\w|COVID-19|[\u4e00-\u9fff，。！？：“”]{2,}|Привет"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    log = tmp_path_factory.mktemp("text") / "log"
    models = "translate-en-zh,sentiment-en,sentiment-zh"
    with real_server(Path("artifacts"), "--models", models, "--default-sentiment", "sentiment-en", log=log) as running:
        yield running


def translated(server: RealServer, text: str, **fields: Any) -> dict[str, Any]:
    answer = server.client.post("/v1/translate", json={"text": text, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["translations"][0]
    return found


def warned(found: dict[str, Any], code: str) -> str:
    return "".join(warning["message"] for warning in found.get("warnings", []) if warning["code"] == code)


def test_there_are_sixty_paragraphs_of_up_to_six_sentences() -> None:
    counts = [len(re.findall("[⟨⟪]", paragraph)) for paragraph in PARAGRAPHS]
    assert len(PARAGRAPHS) == 60
    assert set(counts) <= {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("paragraph", PARAGRAPHS)
def test_every_sentence_of_a_paragraph_has_its_translation_in_order(paragraph: str, server: RealServer) -> None:
    text = re.sub("[⟨⟩⟪⟫]", "", paragraph)
    expected = re.findall(r"([⟨⟪])(.*?)[⟩⟫]", paragraph, re.DOTALL)
    found = translated(server, text, alignment=True)
    translation, alignment = found["text"], found["alignment"]
    spans = alignment["sentences"]
    assert [text[span["source_start"] : span["source_end"]] for span in spans] == [sentence for _, sentence in expected]
    assert [span["is_copied"] for span in spans] == [mark == "⟪" for mark, _ in expected]

    # By count and alignment: each sentence that was read has tokens of its own, which attend to its own alone.
    read = [span for span in spans if not span["is_copied"]]
    sources, targets = alignment["source_tokens"], alignment["target_tokens"]
    assert sources.count("<eos>") == targets.count("<eos>") == len(read)
    weights = np.array(alignment["weights"]).reshape(len(targets), len(sources))
    source_numbers = np.cumsum([0] + [token == "<eos>" for token in sources])[:-1]
    target_numbers = np.cumsum([0] + [token == "<eos>" for token in targets])[:-1]
    is_own = target_numbers[:, None] == source_numbers[None, :]
    assert np.allclose((weights * is_own).sum(axis=1), 1, atol=1e-5)
    assert not (weights * ~is_own).any()

    # In order, none empty, with nothing between them but white space and what stands between the sentences.
    end = 0
    for span in spans:
        between, end = translation[end : span["target_start"]], span["target_end"]
        assert not between.strip() or between in text
        assert span["target_start"] < end
    assert not translation[end:].strip() or text.endswith(translation[end:])
    lines = re.findall(r"\n+", re.sub(r"⟨[^⟩]*⟩", "x", paragraph))
    assert re.findall(r"\n+", translation) == lines

    # Nothing is dropped without a warning.
    for part in KEPT.findall(text):
        assert part in translation
    if KEPT.search(text) or "⟪" in paragraph:
        assert warned(found, "copied")
    lacking = missing(re.sub("|".join(map(re.escape, KEPT.findall(text))) or "^$", "", text), translation)
    for number in lacking:
        assert f'"{number[0]}"' in warned(found, "unknown_text"), found
    assert found["finish_reason"] == "stop"


def test_a_text_is_translated_as_its_sentences_are_alone(server: RealServer) -> None:
    sentences = ["I love you.", "Where is the station?", "This is too expensive!"]
    alone = [translated(server, sentence) for sentence in sentences]
    together = translated(server, " ".join(sentences))
    assert together["text"] == "".join(found["text"] for found in alone)
    assert together["score"] == pytest.approx(sum(found["score"] for found in alone))
    assert "warnings" not in together
    whole = translated(server, " ".join(sentences), split_sentences=False)
    assert len(whole["text"]) < len(together["text"])  # why texts are split


def test_alternatives_of_a_text_are_the_best_of_all_that_its_sentences_make(server: RealServer) -> None:
    first, second = (translated(server, text, alternatives=3) for text in ("I love you.", "This is too expensive!"))
    both = translated(server, "I love you. This is too expensive!", alternatives=3)
    choices = [[found, *found["alternatives"]] for found in (first, second)]
    expected = sorted(
        ((a["score"] + b["score"], a["text"] + b["text"]) for a in choices[0] for b in choices[1]), reverse=True
    )
    found = [(entry["score"], entry["text"]) for entry in (both, *both["alternatives"])]
    assert [text for _, text in found] == [text for _, text in expected[:4]]
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected[:4]])


@pytest.mark.parametrize("number", [0, 12, 30, 38, 41, 43, 50, 55])
def test_a_stream_is_the_text_sentence_after_sentence(number: int, server: RealServer) -> None:
    text = re.sub("[⟨⟩⟪⟫]", "", PARAGRAPHS[number])
    whole = translated(server, text, beam_size=1, alignment=True)
    body = {"text": text, "beam_size": 1, "alignment": True, "stream": True}
    with server.client.stream("POST", "/v1/translate", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    entries = [json.loads(line)["translations"][0] for line in lines]
    assert "".join(entry["text"] for entry in entries) == whole["text"]
    assert {**entries[-1], "text": whole["text"]} == whole


def test_digits_that_the_model_gets_wrong_are_those_of_the_source(server: RealServer) -> None:
    for text, number in (("It costs 1987 dollars.", "1987"), ("He was born in 1985.", "1985")):
        plain = translated(server, text, split_sentences=False)
        assert number not in plain["text"]
        assert number in translated(server, text)["text"]
    lost = translated(server, "There are 25 students in room 304.")
    assert '"304"' in warned(lost, "unknown_text")


def test_numbers_that_the_model_invents_are_said_and_signs_that_it_drops_are_put_back(server: RealServer) -> None:
    said = warned(translated(server, "The number is 1,234,567."), "unknown_text")
    assert said == 'Numbers of the translation that are not in the source: "3".'
    assert "50%" in translated(server, "It costs 50%.")["text"]
    assert "$5.99" in translated(server, "I paid $5.99.")["text"]
    assert '"30°"' in warned(translated(server, "It is 30° outside."), "unknown_text")


def test_few_numbers_are_said_to_be_invented_in_paragraphs(server: RealServer) -> None:
    texts = [re.sub("[⟨⟩⟪⟫]", "", paragraph) for paragraph in PARAGRAPHS]
    assert sum("that are not in the source" in warned(translated(server, text), "unknown_text") for text in texts) <= 1


def test_a_name_that_nothing_in_the_translation_is_from_is_said(server: RealServer) -> None:
    assert '"Smith"' in warned(translated(server, "Good morning, Mr. Smith!"), "unknown_text")
    found = warned(translated(server, "I met Mrs. Brown and Dr. Lee in Paris."), "unknown_text")
    assert '"Brown", "Lee"' in found


def test_names_that_the_model_has_hardly_seen_are_copied_not_invented(server: RealServer) -> None:
    for text, name in (("She lives in Berlin.", "Berlin"), ("I saw Peter yesterday.", "Peter")):
        assert name not in translated(server, text, split_sentences=False)["text"]
        found = translated(server, text)
        assert name in found["text"]
        assert f'"{name}"' in warned(found, "copied")
    assert "warnings" not in translated(server, "I live in New York.")  # which it knows
    lost = translated(server, "The United Nations is big.")
    assert '"United"' in warned(lost, "unknown_text")


def test_the_documents_example_is_answered_as_it_says(server: RealServer) -> None:
    document = Path("docs/translation.md").read_text(encoding="utf-8")
    body, answer = re.findall(r"translate -d '(.*?)'.*?```json\n(.*?)```", document, re.DOTALL)[0]
    found = server.client.post("/v1/translate", content=body).json()
    expected = json.loads(answer)
    assert found.keys() == expected.keys()
    assert found["translations"][0] == {**expected["translations"][0], "score": pytest.approx(-4.838, abs=0.01)}


def test_capitals_are_read_as_the_vocabulary_knows_them(server: RealServer) -> None:
    for text in ("Where is the station?", "I am very happy."):
        assert translated(server, text.upper())["text"] == translated(server, text)["text"]


def test_another_language_and_script_are_said(server: RealServer) -> None:
    french = translated(server, "Je ne sais pas où est la gare, mais je vais demander.")
    assert french["detected_language"] == "fr"
    assert "French (fr)" in warned(french, "language_mismatch")
    chinese = translated(server, "今天天气很好。我们去公园吧！")
    assert chinese["text"] == "今天天气很好。我们去公园吧！"
    assert chinese["detected_language"] == "zh"
    assert "Chinese (zh)" in warned(chinese, "language_mismatch")
    assert "detected_language" not in translated(server, "Tom?")
    assert "detected_language" not in translated(server, "42 😀")


def test_a_sentence_longer_than_the_model_reads_is_cut_where_clauses_end_and_said(server: RealServer) -> None:
    text = "I went home because it was late, " * 20 + "and I slept."
    found = translated(server, text, alignment=True)
    spans = found["alignment"]["sentences"]
    assert len(spans) > 1
    assert all(re.search(r"[, ]$|^$", text[: span["source_start"]]) for span in spans)
    assert " ".join(text[span["source_start"] : span["source_end"]] for span in spans) == text
    assert warned(found, "sentence_cut")


def test_a_translation_that_is_cut_off_says_so(server: RealServer) -> None:
    long = "My sister lives in Boston and works at a hospital."
    found = translated(server, f"I love you. {long}", max_tokens=5)
    assert found["finish_reason"] == "length"
    assert long in warned(found, "truncated")
    assert "I love you." not in warned(found, "truncated")


def test_a_text_that_holds_nothing_to_translate_comes_back_as_it_is(server: RealServer) -> None:
    for text in ("😀", "   ", "42", "https://example.com\n\n", "- \n- "):
        for fields in ({}, {"beam_size": 1}, {"alternatives": 1}):
            found = translated(server, text, **fields)
            assert (found["text"], found["score"], found["finish_reason"]) == (text, 0.0, "stop")
        body = {"text": text, "beam_size": 1, "stream": True}
        lines = server.client.post("/v1/translate", json=body).text.splitlines()
        assert json.loads(lines[0].removeprefix("data: "))["translations"][0]["text"] == text


def test_language_codes_with_regions_and_capitals_are_understood(server: RealServer) -> None:
    for source, target in (("EN", "ZH"), ("en-US", "zh-CN"), ("en_GB", "zh_Hans")):
        body = {"text": "I love you.", "source": source, "target": target}
        answer = server.client.post("/v1/translate", json=body).json()
        assert (answer["source"], answer["target"]) == ("en", "zh")
    error = server.client.post("/v1/translate", json={"text": "x", "target": "zh-TW"}).json()["error"]
    assert "translate en to zh, not any language to zh-Hant" in error["message"]


def test_sentiment_goes_to_the_model_that_reads_the_script(server: RealServer) -> None:
    def asked(**fields: Any) -> Any:
        return server.client.post("/v1/sentiment", json=fields).json()

    assert asked(text="很好吃")["model"] == "sentiment-zh/1"
    assert asked(text="What a film!")["model"] == "sentiment-en/1"
    assert asked(text="42")["model"] == "sentiment-en/1"  # the default
    both = asked(text=["很好吃", "What a wonderful film!", "难吃"], all_scores=True)
    assert [result["model"] for result in both["results"]] == ["sentiment-zh/1", "sentiment-en/1", "sentiment-zh/1"]
    assert [result["label"] for result in both["results"]] == ["positive", "positive", "negative"]
    alone = [asked(text=text, all_scores=True) for text in ("很好吃", "What a wonderful film!", "难吃")]
    assert both["usage"]["tokens"] == sum(answer["usage"]["tokens"] for answer in alone)
    for result, answer in zip(both["results"], alone, strict=True):
        assert result["scores"] == answer["results"][0]["scores"]


def test_sentiment_takes_a_language_and_a_threshold(server: RealServer) -> None:
    def asked(**fields: Any) -> Any:
        return server.client.post("/v1/sentiment", json=fields).json()

    assert asked(text="ok", language="ZH-cn")["model"] == "sentiment-zh/1"
    assert asked(text="很好吃", language="en-US")["model"] == "sentiment-en/1"
    refused = asked(text="bon", language="fr")["error"]
    assert refused["code"] == "languages_not_served"
    assert "sentiment-en/1 reads English, sentiment-zh/1 reads Chinese" in refused["message"]
    assert asked(text="x", language="zh", model="sentiment-en")["error"]["param"] == "language"
    sure = asked(text="What a wonderful film!", threshold=0.5)["results"][0]
    unsure = asked(text="What a wonderful film!", threshold=0.9999)["results"][0]
    assert (sure["label"], unsure["label"]) == ("positive", "uncertain")
    assert sure["score"] == unsure["score"]
