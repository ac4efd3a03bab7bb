from benchmarks.quality.word_lookup import WordLookup, words_of
from models.tokenizer import Tokenizer
from training.data.pairs import Pair

PAIRS = [
    Pair("I eat.", "我吃。"),
    Pair("You eat.", "你。"),
    Pair("I run.", "我跑。"),
    Pair("You run.", "你跑。"),
    Pair("He sleeps.", "他睡。"),
    Pair("I run, I run!", "我跑！"),
]
TOKENIZER = Tokenizer.character([pair.target for pair in PAIRS], end_token=True)


def test_by_count_the_commonest_companion_wins_and_by_dice_the_most_faithful() -> None:
    by_count, by_dice = (WordLookup(PAIRS, TOKENIZER, by) for by in ("count", "dice"))
    assert by_dice.translate("You eat.") == "你吃。"
    assert by_dice.translate("i RUN!") == "我跑！"
    assert by_count.translate("eat") == "。"


def test_a_word_counts_once_a_pair() -> None:
    pairs = [Pair("a a a", "甲"), Pair("a", "乙"), Pair("a", "乙")]
    tokenizer = Tokenizer.character([pair.target for pair in pairs], end_token=True)
    assert WordLookup(pairs, tokenizer, "count").translate("a") == "乙"


def test_words_never_seen_stay_as_they_are() -> None:
    assert WordLookup(PAIRS, TOKENIZER, "dice").translate("Tom, run.") == "tom！跑。"


def test_tokens_of_half_a_character_are_never_written() -> None:
    pairs = [Pair("rare", "鑫")]
    lookup = WordLookup(pairs, Tokenizer.byte_bpe([], 257, end_token=True), "dice")
    assert lookup.translate("rare") == "rare"


def test_words_keep_apostrophes_and_punctuation_stands_alone() -> None:
    assert words_of("Don't stop, it’s 5!") == ["don't", "stop", ",", "it’s", "5", "!"]
