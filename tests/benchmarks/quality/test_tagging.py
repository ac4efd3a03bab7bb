from benchmarks.quality.tagging import figures, linear_tags, most_frequent
from training.data.errands import errands
from training.data.tags import Tagged


def test_the_linear_model_sees_the_words_around_and_the_most_frequent_tag_does_not() -> None:
    corpus = errands(0.2)
    given = [sentence.words for sentence in corpus.validation[:200]]
    gold = [sentence.tags for sentence in corpus.validation[:200]]
    frequent = most_frequent(corpus.train)
    by_word = figures(gold, [[frequent.get(word, frequent[""]) for word in words] for words in given])
    linear = figures(gold, linear_tags(corpus.train[:800], given))
    assert by_word["span_f1"] < 0.95 < linear["span_f1"]


def test_a_word_that_was_not_seen_has_the_tag_of_rare_ones() -> None:
    train = [Tagged(("a", "a", "b", "c"), ("X", "X", "Y", "Y"))]
    assert most_frequent(train) == {"a": "X", "b": "Y", "c": "Y", "": "Y"}


def test_figures_of_tags_that_make_no_spans_are_of_words_alone() -> None:
    assert figures([["NOUN", "VERB"]], [["NOUN", "NOUN"]]) == {"accuracy": 0.5}
