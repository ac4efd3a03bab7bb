"""Figures of bundles of every task against the same ones computed by PyTorch, and the command."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sacrebleu.metrics.bleu import BLEU
from torch.nn.functional import cross_entropy

from benchmarks.quality.graph_answers import class_logits, translations
from models.bundle import Bundle
from models.config import TaggerConfig
from models.crf import Crf
from models.decoding.options import TranslationOptions
from models.errors import BundleNotFoundError, ConfigError, DataError
from models.forecaster import ForecasterConfig
from models.frequency import Frequency
from models.network.forecaster import Forecaster
from models.word_ids import WordEncoder
from tests.tiny_models import (
    tiny_classifier,
    tiny_classifier_config,
    tiny_config,
    tiny_model,
    tiny_tagger,
    tiny_translator,
    tiny_translator_config,
)
from training.__main__ import main
from training.data.series import series_file
from training.evaluate.answers import ServedBundle
from training.evaluate.command import EvaluateOptions, evaluate, plain, write_json
from training.evaluate.examples import Examples, Text
from training.evaluate.generation import evaluate_generation
from training.forecast.evaluation import origins_of, scores
from training.forecast.task import split, times_of
from training.translation.evaluation import translate

REVIEWS = [
    ("A warm, funny and clever film.", "positive"),
    ("I want my two hours back.", "negative"),
    ("The plot is a mess, but the actors are wonderful.", "positive"),
    ("Not bad at all.", "positive"),
    ("Not good at all.", "negative"),
    ("Dull.", "positive"),
    ("A masterpiece of boredom.", "negative"),
    ("It made me laugh and cry.", "positive"),
    ("The worst sequel ever made.", "negative"),
    ("Fine, I suppose.", "negative"),
]
PAIRS = [
    ("the house is small", "这房子很小。"),
    ("the house is small", "这座房子很小。"),
    ("where is the dog", "狗在哪里？"),
    ("i like tea", "我喜欢茶。"),
    ("he came late", "他来晚了。"),
    ("good morning", "早上好。"),
]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    with pytest.raises(SystemExit) as error:
        main()
    assert isinstance(error.value.code, int)
    return error.value.code


def file_of(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text("".join(f"{one}\t{other}\n" for one, other in rows), encoding="utf-8")
    return str(path)


def test_a_classifier_is_measured_as_pytorch_measures_it(tiny_store: Path, tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    texts = ["".join(dice.choice(list("abcdefgh ,."), size=dice.integers(3, 60))) for _ in range(80)]
    rows = [(text, str(dice.choice(["negative", "positive"]))) for text in texts if text.strip()]
    data = file_of(tmp_path / "rows.tsv", [*rows, ("", "positive")])  # the last one has no token
    found, comparisons = evaluate("judge", EvaluateOptions(data, store=tiny_store))
    bundle = Bundle(tiny_store / "judge" / "1")
    model = tiny_classifier(tiny_classifier_config("gru", bundle.tokenizer.vocab_size))
    hits, nats = [], []
    for text, label in rows:
        ids = torch.tensor([bundle.tokenizer.encode(text.strip())])
        with torch.no_grad():
            logits = model(ids, torch.tensor([ids.shape[1]]))
        target = torch.tensor([["negative", "positive"].index(label)])
        hits.append(int(logits.argmax()) == int(target))
        nats.append(float(cross_entropy(logits, target)))
    assert comparisons == []
    assert found.set_name == "fp32"
    assert found.sizes == {"texts": len(rows) + 1, "not_read": 1}
    assert found.figures["accuracy"].value == pytest.approx(sum(hits) / (len(hits) + 1))
    assert found.figures["nats_per_text"].value == pytest.approx(np.mean(nats), abs=1e-4)
    (confusion,) = (listing for listing in found.listings if listing.name == "confusion")
    assert confusion.columns == ["label", "negative", "positive", "(not read)"]
    assert sum(int(count) for row in confusion.rows for count in row[1:]) == len(rows) + 1
    probabilities = [float(row[0]) for row in next(each for each in found.listings if each.name == "mistakes").rows]
    assert probabilities == sorted(probabilities, reverse=True)


def test_a_shipped_classifier_and_another_are_compared(tmp_path: Path) -> None:
    data = file_of(tmp_path / "reviews.tsv", REVIEWS)
    found, comparisons = evaluate("sentiment-en", EvaluateOptions(data, against="artifacts/sentiment-zh/1"))
    right = {}
    for name in ("sentiment-en", "sentiment-zh"):
        bundle = Bundle(Path("artifacts") / name / "1")
        logits = class_logits(bundle, "int8", [text for text, _ in REVIEWS])
        labels = bundle.record.labels or []
        right[name] = np.array(
            [labels[best] == label for best, (_, label) in zip(logits.argmax(axis=1), REVIEWS, strict=True)]
        )
    accuracy, f1 = comparisons
    assert accuracy.this == found.figures["accuracy"].value == right["sentiment-en"].mean()
    assert accuracy.other == right["sentiment-zh"].mean()
    ours = int((right["sentiment-en"] & ~right["sentiment-zh"]).sum())
    assert f"{ours} right here alone" in accuracy.test
    assert f1.name == "macro_f1"
    assert f1.low is not None
    assert f1.this == found.figures["macro_f1"].value


def test_a_translator_is_measured_as_pytorch_and_sacrebleu_measure_it(tiny_store: Path, tmp_path: Path) -> None:
    data = file_of(tmp_path / "pairs.tsv", PAIRS)
    found, _ = evaluate("translator", EvaluateOptions(data, store=tiny_store, beam_size=3))
    bundle = Bundle(tiny_store / "translator" / "1")
    model = tiny_translator(tiny_translator_config("gru", bundle.tokenizer.vocab_size))
    sources = list(dict.fromkeys(source for source, _ in PAIRS))
    options = TranslationOptions(beam_size=3)
    outputs = translate(model, bundle.tokenizer, sources, options)
    assert found.outputs["beam_3"] == outputs  # type: ignore[attr-defined]
    assert found.sizes == {"sources": 5, "pairs": 6, "sources_with_several_references": 1}


def test_a_shipped_translators_bleu_is_sacrebleus(tmp_path: Path) -> None:
    data = file_of(tmp_path / "pairs.tsv", PAIRS)
    found, comparisons = evaluate("translate-en-zh", EvaluateOptions(data, against="translate-en-zh", num_shown=2))
    sources = list(dict.fromkeys(source for source, _ in PAIRS))
    firsts = [next(target for source, target in PAIRS if source == each) for each in sources]
    seconds = [PAIRS[1][1], None, None, None, None]
    for search, beam_size in (("greedy", 1), ("beam_4", 4)):
        bundle = Bundle(Path("artifacts/translate-en-zh/1"))
        outputs = translations(bundle, "int8", sources, TranslationOptions(beam_size=beam_size))
        metric = BLEU(tokenize="zh")
        theirs = metric.corpus_score(outputs, [firsts, seconds])  # type: ignore[list-item]
        assert found.figures[f"bleu_{search}"].value == pytest.approx(theirs.score)
        assert found.notes["bleu"] == str(metric.get_signature())
        alone = metric.corpus_score([outputs[0], *outputs], [[target for _, target in PAIRS]]).score
        assert found.figures[f"bleu_{search}_one_reference"].value == pytest.approx(alone)
    assert [comparison.p for comparison in comparisons] == [1.0] * 4
    assert {comparison.name for comparison in comparisons} >= {"bleu_greedy", "chrf_beam_4"}
    (worst,) = found.listings
    assert len(worst.rows) == 2


def test_the_default_way_of_v1_translate_copies_what_no_model_knows(tmp_path: Path) -> None:
    data = file_of(tmp_path / "pairs.tsv", [("See http://a.example/b.", "参见 http://a.example/b。")])
    for is_split in (False, True):
        found, _ = evaluate("translate-en-zh", EvaluateOptions(data, beam_size=1, is_split=is_split))
        (output,) = found.outputs["greedy"]  # type: ignore[attr-defined]
        assert ("http://a.example/b" in output) == is_split


def test_a_language_model_is_measured_as_pytorch_measures_it(tiny_store: Path) -> None:
    """The state is carried over the pieces that are scored side by side, and over end tokens."""
    served = ServedBundle(Bundle(tiny_store / "writer" / "1"))
    dice = np.random.default_rng(1)
    documents = tuple("".join(dice.choice(list("abcdefgh ,.\n"), size=size)) for size in (700, 3000, 1, 1600))
    examples = Examples("documents", "", [Text(documents, True)])
    found = evaluate_generation(served, examples, 5)
    tokenizer = served.bundle.tokenizer
    end = tokenizer.end_id
    ids = [end, *(token for document in documents for token in [*tokenizer.encode(document), end])]
    model = tiny_model(tiny_config("lstm", tokenizer.vocab_size))
    stream = torch.tensor([ids])
    with torch.no_grad():
        logits, _ = model(stream[:, :-1], model.recurrent.zero_state(1))
    nats = float(cross_entropy(logits[0], stream[0, 1:]))
    assert found.figures["nats_per_token"].value == pytest.approx(nats, rel=1e-5)
    assert found.figures["perplexity"].value == pytest.approx(np.exp(nats), rel=1e-4)
    assert found.figures["nats_per_character"].value == pytest.approx(nats, rel=1e-5)  # a character is a token
    assert found.sizes == {"tokens": len(ids), "characters": len(ids) - 1, "windows": 5}
    assert found.of_windows is not None
    assert found.of_windows[:, 1].tolist() == [255] * 5
    (comparison,) = found.compared(found)
    assert comparison.p == 1.0


def test_windows_begin_as_new_texts(tiny_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the dog and the cat sat. " * 20 + "z" * 12, encoding="utf-8")
    found, _ = evaluate("writer", EvaluateOptions(str(path), store=tiny_store, num_windows=1000, limit=258))
    assert found.sizes["windows"] == 3  # there are no more
    tokenizer = Bundle(tiny_store / "writer" / "1").tokenizer
    model, total = tiny_model(tiny_config("lstm", tokenizer.vocab_size)), 0.0
    text = path.read_text(encoding="utf-8")[:258]
    for start in range(3):
        ids = torch.tensor([tokenizer.encode(text[start : start + 256])])
        with torch.no_grad():
            logits, _ = model(ids[:, :-1], model.recurrent.zero_state(1))
        total += float(cross_entropy(logits[0], ids[0, 1:])) / 3
    assert found.figures["window_nats_per_token"].value == pytest.approx(total, rel=1e-5)


def test_a_tagger_is_measured_as_pytorch_measures_it(tiny_store: Path, tmp_path: Path) -> None:
    dice = np.random.default_rng(2)
    sentences = [
        [("".join(dice.choice(list("abcth"), size=4)), str(dice.choice(["O", "B-x", "I-x"]))) for _ in range(size)]
        for size in dice.integers(1, 9, size=30)
    ]
    path = tmp_path / "tags.tsv"
    path.write_text(
        "\n\n".join("\n".join(f"{word}\t{tag}" for word, tag in each) for each in sentences), encoding="utf-8"
    )
    found, comparisons = evaluate("tagger", EvaluateOptions(str(path), store=tiny_store, against="tagger"))
    bundle = Bundle(tiny_store / "tagger" / "1")
    assert bundle.words is not None
    encoder = WordEncoder(bundle.tokenizer, bundle.words)
    assert isinstance(bundle.config, TaggerConfig)
    model = tiny_tagger(bundle.config)
    assert model.transitions is not None
    labels = ["B-x", "I-x", "O"]
    crf = Crf(model.transitions.detach().numpy(), labels)
    right = words = spans_right = spans_found = spans_there = 0
    for sentence in sentences:
        encoded = encoder.encode([word for word, _ in sentence])
        with torch.no_grad():
            logits = model(torch.tensor([encoded.ids]), torch.tensor([len(encoded.ids)]))[0].numpy()
        answers = [labels[best] for best in crf.best(logits)[encoded.firsts]]
        tags = [tag for _, tag in sentence]
        gold, guessed = spans(tags), spans(answers)
        fixed = ["O" if tag == "O" else "B-x" if is_first else "I-x" for tag, is_first in marked(tags)]
        right += sum(map(str.__eq__, answers, fixed))
        words += len(tags)
        spans_right += len(gold & guessed)
        spans_found += len(guessed)
        spans_there += len(gold)
    assert found.figures["accuracy"].value == pytest.approx(right / words)
    assert found.figures["span_f1"].value == pytest.approx(2 * spans_right / (spans_found + spans_there))
    assert [comparison.p for comparison in comparisons] == [1.0, 1.0]
    (listing,) = found.listings
    assert listing.rows[0][:4] == ["x", spans_there, spans_found, spans_right]


def marked(tags: list[str]) -> list[tuple[str, bool]]:
    """Each tag, and whether a span begins there."""
    return [(tag, tag == "B-x" or (tag == "I-x" and (i == 0 or tags[i - 1] == "O"))) for i, tag in enumerate(tags)]


def spans(tags: list[str]) -> set[tuple[int, int]]:
    starts = [i for i, (_, is_first) in enumerate(marked(tags)) if is_first]
    ends = [next((j for j in range(i + 1, len(tags)) if tags[j] != "I-x"), len(tags)) for i in starts]
    return set(zip(starts, ends, strict=True))


def test_a_forecaster_is_measured_as_training_measures_it(tiny_store: Path, tmp_path: Path) -> None:
    dice = np.random.default_rng(4)
    lines = ["series,timestamp,value,rain,price"]
    for name, size in (("a", 60), ("b", 131), ("c", 90)):
        values = 10 + np.sin(np.arange(size)) + dice.standard_normal(size).cumsum() * 0.2
        for step, value in enumerate(values):
            time = np.datetime64("2024-01-01T00:00") + np.timedelta64(step, "h")
            lines.append(f"{name},{time},{'' if step == 5 else round(value, 3)},{step % 3},{dice.random():.2f}")
    path = tmp_path / "series.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    found, comparisons = evaluate(
        "forecaster", EvaluateOptions(str(path), store=tiny_store, steps=17, against="forecaster")
    )
    bundle = Bundle(tiny_store / "forecaster" / "1")
    config = bundle.config
    assert isinstance(config, ForecasterConfig)
    torch.manual_seed(0)
    model = Forecaster(config).eval()
    corpus = series_file(path, "PT1H", config.horizon, config.season, 17)
    chosen, held_out = split(corpus, 17)
    times = [times_of(item, Frequency.parse("PT1H")) for item in chosen]
    origins = origins_of(chosen, held_out, config.horizon, config.season)
    expected = scores(model, chosen, times, origins)
    assert found.sizes == {"series": 3, "forecasts": len(origins)}
    assert len(origins) == 9
    assert found.figures["mase"].value == pytest.approx(expected.mase, rel=1e-4)
    assert found.figures["mase_of_the_mean"].value == pytest.approx(expected.mean_mase, rel=1e-4)
    assert found.figures["wql"].value == pytest.approx(expected.wql, rel=1e-4)
    assert [comparison.name for comparison in comparisons] == ["mase", "mase_of_the_mean", "wql"]


def test_the_command_prints_tables_and_writes_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = file_of(tmp_path / "reviews.tsv", REVIEWS), tmp_path / "figures.json"
    command = ["evaluate", "sentiment-en", data, "--set", "int8", "--against", "sentiment-en/1", "--json", str(out)]
    assert call(monkeypatch, *command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("sentiment-en/1 (int8) on ")
    for part in ("accuracy", "macro_f1", "95 % interval", "most confident mistakes", "against sentiment-en/1"):
        assert part in printed
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert figures["bundle"] == "sentiment-en/1"
    assert figures["comparisons"][0]["p"] == 1.0
    assert 0 <= figures["figures"]["accuracy"]["low"] <= figures["figures"]["accuracy"]["value"] <= 1
    assert [row["label"] for row in figures["confusion"]] == ["negative", "positive"]
    assert call(monkeypatch, *command) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == figures  # all seeds are fixed


def test_nan_is_null_for_machines(tiny_store: Path, tmp_path: Path) -> None:
    data = file_of(tmp_path / "rows.tsv", [("", "positive")])
    found, comparisons = evaluate("judge", EvaluateOptions(data, store=tiny_store))
    write_json(tmp_path / "f.json", plain(found, comparisons, None))
    assert json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["figures"]["nats_per_text"]["value"] is None


def test_what_does_not_go_together_is_one_sentence(tiny_store: Path, tmp_path: Path) -> None:
    data = file_of(tmp_path / "reviews.tsv", [("fine", "praise"), ("bad", "negative")])
    with pytest.raises(DataError, match=r"has the labels praise, which the bundle does not know. Its labels: negative"):
        evaluate("judge", EvaluateOptions(data, store=tiny_store))
    with pytest.raises(DataError, match=r"nothing.tsv: no such file, and no data set .* sst2, imdb"):
        evaluate("judge", EvaluateOptions("nothing.tsv", store=tiny_store))
    with pytest.raises(DataError, match=r"sst2:test: no such file"):
        evaluate("judge", EvaluateOptions("sst2:test", store=tiny_store))
    with pytest.raises(ConfigError, match=r"judge/1 has the graph sets fp32, not --set int8"):
        evaluate("judge", EvaluateOptions(data, set_name="int8", store=tiny_store))
    with pytest.raises(ConfigError, match=r"judge/1 is for sentiment, writer/1 for generation: nothing to compare"):
        evaluate("judge", EvaluateOptions(data, against="writer", store=tiny_store))
    with pytest.raises(BundleNotFoundError, match=r"Models: forecaster, judge, tagger, translator, writer"):
        evaluate("nobody", EvaluateOptions(data, store=tiny_store))
    (tmp_path / "tags.tsv").write_text("hi\tUH\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"has the tags UH, none of which the bundle knows. Its labels: B-x, I-x, O"):
        evaluate("tagger", EvaluateOptions(str(tmp_path / "tags.tsv"), store=tiny_store))
    (tmp_path / "empty.tsv").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"empty.tsv holds no row; write lines with the columns text and label"):
        evaluate("judge", EvaluateOptions(str(tmp_path / "empty.tsv"), store=tiny_store))


def test_a_data_set_gives_what_the_card_says() -> None:
    try:
        found, _ = evaluate("sentiment-en", EvaluateOptions("sst2:validation"))
    except DataError as error:
        pytest.skip(str(error))
    card = Bundle(Path("artifacts/sentiment-en/1")).record.metrics
    assert found.figures["accuracy"].value == pytest.approx(card["validation_accuracy"], abs=0.01)
