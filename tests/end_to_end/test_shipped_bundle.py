"""The shipped models: their size, their files, and that their int8 graphs do on validation data what the cards say."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.graph_answers import class_logits, translations
from benchmarks.quality.sentiment import class_scores, labelled_of
from benchmarks.quality.tagging import figures, tagged_of, tags_of_words
from benchmarks.quality.translation import pairs_of
from export.build import build_sets
from models.bundle import Bundle
from models.decoding.options import TranslationOptions
from models.forecaster import ForecasterConfig
from models.store import Store
from runtime.frames import batched
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner
from runtime.opening import CPU, open_set
from runtime.runner import Array
from training.data.series import series_of
from training.forecast.evaluation import seasonal_difference
from training.sentiment.evaluation import Scores
from training.translation.evaluation import scores

STORE = Path("artifacts")
SHIPPED = STORE / "shakespeare-char/1"
ALL = ("shakespeare-char", "translate-en-zh", "sentiment-en", "sentiment-zh", "tag-en", "forecast-hourly")
MAX_BYTES_OF_ALL = 60_000_000
MAX_BYTES = 14_000_000
MAX_NATS_PER_CHARACTER = 1.45
INT8_RISE = 0.01
WINDOW, PARTS = 1024, 8
WITHIN_POINTS = 0.01  # accuracy and macro-F1 of int8 against the card
WITHIN_BLEU = 0.5
MASE_OF_SEASONAL_NAIVE = 1.228


def validation_ids(bundle: Bundle) -> np.ndarray:
    folder = os.environ.get("RNNSERVE_DATA")
    if not folder:
        pytest.skip("RNNSERVE_DATA is not set: the validation text of tiny Shakespeare is not here")
    text = (Path(folder) / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    return np.array(bundle.tokenizer.encode(text[int(0.9 * len(text)) :]))


def nats_per_character(bundle: Bundle, set_name: str, ids: np.ndarray) -> float:
    """Mean -log p of the characters of PARTS parts of the text, read side by side, the state carried through each."""
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set(set_name), graphs=["score"]))
    state = np.zeros((PARTS, bundle.record.state_width), np.float32)
    length = (len(ids) - 1) // PARTS
    inputs, targets = (ids[first : first + PARTS * length].reshape(PARTS, length) for first in (0, 1))
    total = 0.0
    for start in range(0, length, WINDOW):
        window = np.ascontiguousarray(inputs[:, start : start + WINDOW])
        lengths = np.full(PARTS, window.shape[1], np.int32)
        found = runner.run("score", {"ids": window, "lengths": lengths, "state": state})
        state = found["new_state"]
        logits = found["logits"].astype(np.float64)
        logits -= logits.max(axis=2, keepdims=True)
        chosen = np.take_along_axis(logits, targets[:, start : start + WINDOW, None], axis=2)[..., 0]
        total += float((np.log(np.exp(logits).sum(axis=2)) - chosen).sum())
    return total / (PARTS * length)


def test_it_is_small_whole_and_serves_int8() -> None:
    bundle = Bundle(SHIPPED)
    assert bundle.graph_sets == ("int8",)
    bundle.graph_set("int8")
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < MAX_BYTES


@pytest.mark.slow
def test_its_loss_through_the_exported_graphs_is_what_its_card_says(tmp_path: Path) -> None:
    bundle = Bundle(SHIPPED)
    ids = validation_ids(bundle)
    store = Store(tmp_path)
    with store.new_version("shakespeare-char") as (folder, target):  # the fp32 set is built beside, never shipped
        for name in (*bundle.record.files, "bundle.json"):
            (folder / name).write_bytes((SHIPPED / name).read_bytes())
    copy = Bundle(target)
    build_sets(copy, ["fp32"])
    fp32 = nats_per_character(copy, "fp32", ids)
    int8 = nats_per_character(bundle, "int8", ids)
    print(f"nats per character: fp32 {fp32:.4f}, int8 {int8:.4f}")
    assert fp32 <= MAX_NATS_PER_CHARACTER
    assert fp32 == pytest.approx(bundle.record.metrics["validation_nats_per_character"], abs=1e-3)
    assert int8 <= fp32 * (1 + INT8_RISE)


def with_data(name: str) -> Bundle:
    """A shipped bundle whose validation data is here."""
    if not (STORE / name / "1").is_dir():
        pytest.skip(f"{STORE / name / '1'} is not here: this model is not shipped yet")
    if not os.environ.get("RNNSERVE_DATA"):
        pytest.skip(f"RNNSERVE_DATA is not set: the validation data of {name} is not here")
    return Bundle(STORE / name / "1")


def int8_scores(bundle: Bundle, dataset: str) -> Scores:
    labels = bundle.record.labels
    assert labels is not None
    examples = [text for text in labelled_of(bundle).validation[dataset] if bundle.tokenizer.encode(text.text)]
    return class_scores(class_logits(bundle, "int8", [text for text, _ in examples]), examples, labels)


def test_all_shipped_models_together_are_small_enough_to_clone() -> None:
    files = [path for name in ALL for path in (STORE / name / "1").rglob("*") if path.is_file()]
    sizes = {str(path): path.stat().st_size for path in files}
    assert sum(sizes.values()) <= MAX_BYTES_OF_ALL, sizes


def test_english_sentiment_through_the_int8_graph_is_what_its_card_says() -> None:
    bundle = with_data("sentiment-en")
    accuracy = int8_scores(bundle, "sst2").accuracy
    print(f"SST-2 accuracy: int8 {accuracy:.4f}")
    assert accuracy >= bundle.record.metrics["validation_accuracy"] - WITHIN_POINTS


def test_chinese_sentiment_through_the_int8_graph_is_what_its_card_says() -> None:
    bundle = with_data("sentiment-zh")
    macro_f1 = int8_scores(bundle, "waimai").macro_f1
    print(f"waimai macro-F1: int8 {macro_f1:.4f}")
    assert macro_f1 >= bundle.record.metrics["validation_macro_f1"] - WITHIN_POINTS


def test_parts_of_speech_through_the_int8_graph_are_what_the_card_says() -> None:
    bundle = with_data("tag-en")
    validation = tagged_of(bundle).validation
    found = figures(
        [item.tags for item in validation], tags_of_words(bundle, "int8", [item.words for item in validation])
    )
    print(f"UD EWT accuracy: int8 {found['accuracy']:.4f}")
    assert found["accuracy"] >= bundle.record.metrics["validation_accuracy"] - WITHIN_POINTS / 5


def test_translations_through_the_int8_graphs_are_as_good_as_the_card_says() -> None:
    bundle = with_data("translate-en-zh")
    pairs = pairs_of(bundle).validation  # all of them: BLEU of a part is another number than the card's
    outputs = translations(bundle, "int8", [pair.source for pair in pairs], TranslationOptions(beam_size=1))
    bleu = scores(outputs, [pair.target for pair in pairs], "zh").bleu
    print(f"BLEU, greedy: int8 {bleu:.2f}")
    assert bleu >= bundle.record.metrics["validation_bleu_greedy"] - WITHIN_BLEU


def test_hourly_forecasts_through_the_graph_are_what_the_card_says() -> None:
    """The same states and quantiles as PyTorch's, so MASE on the last 48 hours of M4's training series."""
    bundle = with_data("forecast-hourly")
    config = bundle.config
    assert isinstance(config, ForecasterConfig)
    corpus = series_of("m4-hourly")
    sequences = open_set(CPU, bundle, "fp32").sequences()
    errors = []
    for start in range(0, len(corpus.series), 32):
        group = corpus.series[start : start + 32]
        known = [item.values[: -config.horizon].astype(np.float32) for item in group]
        rows: list[dict[str, Array]] = [{"values": values, "time": 3600 * np.arange(len(values))} for values in known]
        inputs = batched(config.signature, rows, max(map(len, known)))
        state = np.zeros((len(group), config.state_size), np.float32)
        median = sequences.run("advance", inputs | {"state": state})["quantiles"][:, :, 4]
        for item, found in zip(group, median, strict=True):
            scale = seasonal_difference(item.values[: -config.horizon], config.season)
            errors.append(np.abs(item.values[-config.horizon :] - found).mean() / scale)
    mase = float(np.mean(errors))
    print(f"M4 hourly MASE: fp32 {mase:.4f}")
    assert mase < MASE_OF_SEASONAL_NAIVE
    assert mase == pytest.approx(bundle.record.metrics["validation_mase"], abs=1e-4)
