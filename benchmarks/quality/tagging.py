"""A tagger through its graph, as it is served: with the validation part's own words, and from raw text.

Beside it a word's most frequent tag, and a linear model of each word and those around it. Words from raw text count by
the rules of CoNLL 2018.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction import FeatureHasher  # type: ignore[import-untyped]
from sklearn.linear_model import SGDClassifier  # type: ignore[import-untyped]

from benchmarks.quality.conll18 import Word, aligned_f1
from benchmarks.quality.graph_answers import SETS, with_sets
from models.bundle import Bundle
from models.spans import are_span_tags
from models.word_ids import Encoded, WordEncoder, shape
from models.words import sentences
from runtime.opening import CPU, open_set
from runtime.padding import padded
from training.buckets import in_order
from training.data.tags import TagCorpus, Tagged
from training.recipe_file import recipe_from_plain
from training.tagging.corpus import load_tagged
from training.tagging.evaluation import f1, span_counts
from training.tagging.recipe import TaggingRecipe

SENTENCES = 32  # read together; no answer depends on it
_NUM_FEATURES = 1 << 20
_EPOCHS = 10


def measure(bundle: Bundle) -> dict[str, Any]:
    """Measure a tagger and the baselines, print the table, and return the figures as plain data.

    Raises:
        DataError: the data is absent or malformed.
    """
    corpus = tagged_of(bundle)
    gold = [sentence.tags for sentence in corpus.validation]
    given = [sentence.words for sentence in corpus.validation]
    found: dict[str, dict[str, float]] = {}
    with with_sets(bundle, SETS) as bundles:
        for set_name, copy in bundles.items():
            found[set_name] = figures(gold, tags_of_words(copy, set_name, given))
            if set_name == SETS[0] and not are_span_tags(bundle.record.labels or ()):
                found[set_name] |= from_raw_text(copy, set_name, corpus.validation)
    frequent = most_frequent(corpus.train)
    found["most frequent tag"] = figures(gold, [[frequent.get(word, frequent[""]) for word in item] for item in given])
    found["linear"] = figures(gold, linear_tags(corpus.train, given))
    table = Table("", *found[SETS[0]], title=f"{bundle.id}: {len(gold):,} sentences", title_justify="left")
    for title, values in found.items():
        table.add_row(title, *(f"{100 * values[name]:.2f}" if name in values else "" for name in found[SETS[0]]))
    Console(width=150).print(table)
    return {"sentences": len(gold), "figures": found}


def tagged_of(bundle: Bundle) -> TagCorpus:
    """The sentences that a tagger was trained and validated on, as its recipe says.

    Raises:
        DataError: they are absent or malformed.
    """
    recipe = recipe_from_plain(bundle.record.provenance["recipe"], f"recipe of {bundle.id}")
    assert isinstance(recipe, TaggingRecipe), "a tagger's recipe"
    return load_tagged(recipe.data)


def figures(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> dict[str, float]:
    """Accuracy of words, and F1 of spans where the tags make spans."""
    pairs = [pair for both in zip(gold, found, strict=True) for pair in zip(*both, strict=True)]
    values = {"accuracy": sum(a == b for a, b in pairs) / len(pairs)}
    if are_span_tags(tag for tags in gold for tag in tags):
        counts = span_counts(zip(gold, found, strict=True)).values()
        values["span_f1"] = f1(*(sum(column) for column in zip(*counts, strict=True)))
    return values


def tags_of_words(bundle: Bundle, set_name: str, sentences_: Sequence[Sequence[str]]) -> list[list[str]]:
    """The label of each word's first token, as the server finds it.

    Args:
        bundle: a tagger that has the graph set.
        set_name: fp32 or int8.
        sentences_: of words.
    """
    assert bundle.words is not None
    encoder, labels = WordEncoder(bundle.tokenizer, bundle.words), bundle.record.labels or []
    runner = open_set(CPU, bundle, set_name).sequences()
    rows: list[Encoded] = [encoder.encode(words) for words in sentences_]
    found: list[list[str]] = [[] for _ in rows]
    for indices in in_order([(len(row.ids),) for row in rows], SENTENCES):
        chosen = [rows[i] for i in indices.tolist()]
        ids, lengths = padded([row.ids for row in chosen])
        logits = runner.run("tag", {"ids": ids, "lengths": lengths})["logits"]
        for i, emissions, length in zip(indices.tolist(), logits, lengths.tolist(), strict=True):
            own = emissions[:length]
            best = own.argmax(axis=1) if bundle.crf is None else bundle.crf.best(own)
            found[i] = [labels[label] for label in best[rows[i].firsts].tolist()]
    return found


def from_raw_text(bundle: Bundle, set_name: str, validation: Sequence[Tagged]) -> dict[str, float]:
    """F1 of words, and of words with the right tag, from the sentences' texts joined by spaces, ten at a time."""
    assert bundle.words is not None
    splitter = bundle.words.splitter
    gold: list[Word] = []
    system: list[Word] = []
    places: list[tuple[str, list[tuple[int, int]]]] = []
    for first in range(0, len(validation), 10):
        part = validation[first : first + 10]
        text = " ".join(item.text or "" for item in part)
        places += [(text, sentence) for sentence in sentences(text, splitter.split(text))]
    tags = tags_of_words(bundle, set_name, [[text[a:b] for a, b in sentence] for text, sentence in places])
    position = 0
    for (text, sentence), labels in zip(places, tags, strict=True):
        for (a, b), label in zip(sentence, labels, strict=True):
            system.append(Word(position, position + b - a, text[a:b], label))
            position += b - a
    position = 0
    for item in validation:
        gold += _gold_words(item, position)
        position += sum(not character.isspace() for character in item.text or "")
    words, upos = aligned_f1(gold, system)
    return {"raw_text_words_f1": words, "raw_text_tags_f1": upos}


def _gold_words(item: Tagged, position: int) -> Iterator[Word]:
    """With the places of their tokens among all characters but white space."""
    text, spans, tokens = item.text or "", item.spans, item.tokens
    assert spans is not None, "a treebank with its text"
    assert tokens is not None
    before = np.cumsum([0, *(not character.isspace() for character in text)]).tolist()
    for span, (start, end), word, tag in zip(spans, tokens, item.words, item.tags, strict=True):
        is_multiword = span != (start, end) or tokens.count((start, end)) > 1
        yield Word(position + before[start], position + before[end], word, tag, is_multiword)


def most_frequent(train: Sequence[Tagged]) -> dict[str, str]:
    """Each word's most frequent tag; of "" that of most words that occur once, or of most words."""
    counts: dict[str, Counter[str]] = {}
    for sentence in train:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            counts.setdefault(word, Counter())[tag] += 1
    every = Counter(tag for sentence in train for tag in sentence.tags)
    rare = Counter(tag for found in counts.values() if found.total() == 1 for tag in found) or every
    return {word: found.most_common(1)[0][0] for word, found in counts.items()} | {"": rare.most_common(1)[0][0]}


def linear_tags(train: Sequence[Tagged], given: Sequence[Sequence[str]]) -> list[list[str]]:
    """Logistic regression on each word, its letters and shape, and the two words to each side, by scikit-learn."""
    hasher = FeatureHasher(_NUM_FEATURES, input_type="string")
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=_EPOCHS, tol=None, random_state=0)
    model.fit(
        hasher.transform(row for sentence in train for row in _features(sentence.words)),
        [tag for sentence in train for tag in sentence.tags],
    )
    flat = iter(model.predict(hasher.transform(row for words in given for row in _features(words))).tolist())
    return [[next(flat) for _ in words] for words in given]


def _features(words: Sequence[str]) -> Iterator[list[str]]:
    padded_words = ["<2", "<1", *words, ">1", ">2"]
    for i in range(2, len(padded_words) - 2):
        word = padded_words[i]
        lower = word.lower()
        yield [
            *(f"{offset}={padded_words[i + offset].lower()}" for offset in range(-2, 3)),
            f"-1,0={padded_words[i - 1].lower()} {lower}",
            f"0,1={lower} {padded_words[i + 1].lower()}",
            *(f"s{length}={lower[-length:]}" for length in range(1, 5)),
            *(f"p{length}={lower[:length]}" for length in range(1, 4)),
            *(f"h{offset}={shape(padded_words[i + offset])}" for offset in (-1, 0, 1)),
        ]
