"""What a user types is text in every tokenizer: no mark, nothing lost without being counted, copied or not."""

import copy
import json
import pickle
from collections.abc import Callable

import pytest
from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from models.tokenizer import Tokenizer
from tests.models.backends import unigram, with_ends

TEXTS = ["the film was good", "a [SEP] b </s> c <|endoftext|>"] * 4
ALPHABET = pre_tokenizers.ByteLevel.alphabet()
LETTERS = sorted(set("".join(TEXTS)))


def byte_bpe(*, special: bool = True, trained: bool = True) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    marks = ["<|endoftext|>"] if trained else []
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(special_tokens=marks, initial_alphabet=ALPHABET, show_progress=False)
    )
    if not trained:
        (backend.add_special_tokens if special else backend.add_tokens)(["<|endoftext|>"])
    return backend


def characters(tokens: list[str], unknown: str = "<unk>") -> Backend:
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    return backend


def marked_characters() -> Backend:
    backend = characters(["<unk>", "<|endoftext|>", *LETTERS])
    backend.add_special_tokens(["<|endoftext|>"])
    return backend


def words(model: type, *, has_unknown: bool = True) -> Backend:
    """Split at spaces alone, so that a mark that is typed is a word."""
    tokens = [*(["[UNK]"] if has_unknown else []), "[CLS]", "[SEP]", "the", "film", "was", "good"]
    backend = Backend(model({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(tokens[: 2 + has_unknown])
    return with_ends(backend, "[CLS]", "[SEP]")


def written(make: Callable[[], Backend]) -> Tokenizer:
    return Tokenizer(make(), end_token="<|endoftext|>")


def read(make: Callable[[], Backend]) -> Tokenizer:
    return Tokenizer(make(), only_reads=True)


TOKENIZERS: dict[str, tuple[Callable[[], Tokenizer], str]] = {  # and a mark of each
    "characters": (lambda: written(marked_characters), "<|endoftext|>"),
    "byte BPE": (lambda: written(byte_bpe), "<|endoftext|>"),
    "byte BPE, mark added later": (lambda: written(lambda: byte_bpe(trained=False)), "<|endoftext|>"),
    "byte BPE, mark not special": (lambda: written(lambda: byte_bpe(trained=False, special=False)), "<|endoftext|>"),
    "byte BPE that reads": (lambda: read(byte_bpe), "<|endoftext|>"),
    "word level": (lambda: read(lambda: words(models.WordLevel)), "[SEP]"),
    "word level without unknown": (lambda: read(lambda: words(models.WordLevel, has_unknown=False)), "[SEP]"),
    "word piece": (lambda: read(lambda: words(models.WordPiece)), "[SEP]"),
    "unigram": (lambda: read(lambda: unigram(TEXTS)), "</s>"),
}
WAYS: dict[str, Callable[[Tokenizer], Tokenizer]] = {
    "itself": lambda tokenizer: tokenizer,
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    "pickled": lambda tokenizer: pickle.loads(pickle.dumps(tokenizer)),
    "from its file": lambda tokenizer: Tokenizer.from_json(
        tokenizer.to_json(), end_token=tokenizer.end_token, only_reads=tokenizer.kind not in ("character", "byte-bpe")
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_mark_that_is_typed_is_text_however_the_tokenizer_was_copied(name: str, way: str) -> None:
    make, mark = TOKENIZERS[name]
    original = make()
    tokenizer = WAYS[way](original)
    mark_id = original._backend.get_vocab()[mark]
    plain = tokenizer.encode("the film")
    for text in (f"the {mark} film", f"the{mark}film", mark, f"{mark} " * 300):
        ids = tokenizer.encode(text)
        assert ids.count(mark_id) == plain.count(mark_id), text
        assert ids == original.encode(text)
    assert tokenizer._backend.get_vocab() == original._backend.get_vocab()


def test_a_mark_of_several_characters_is_read_character_by_character() -> None:
    assert len(written(marked_characters).encode("a<|endoftext|>b")) == 15


@pytest.mark.parametrize("name", TOKENIZERS)
def test_other_texts_are_read_as_the_library_reads_them(name: str) -> None:
    tokenizer = TOKENIZERS[name][0]()
    for text in ("the film was good", "the", "good film " * 200):
        assert tokenizer.encode(text) == tokenizer._backend.encode(text).ids


def test_a_mark_of_one_character_is_unknown_where_it_is_typed() -> None:
    backend = characters(["<unk>", "$", "a", "b"])
    backend.add_special_tokens(["$"])
    tokenizer = Tokenizer(backend, end_token="$")
    assert (tokenizer.encode("a$b"), tokenizer.end_id) == ([2, 0, 3], 1)
    plain = Tokenizer(characters(["<unk>", "\n", "a", "b"]), end_token="\n")  # a line break that is text as well
    assert (plain.encode("a\nb"), plain.end_id) == ([2, 1, 3], 1)


@pytest.mark.parametrize("unknown", ["<unk>", "[UNK]"])
def test_a_character_tokenizer_without_unknown_leaves_out_and_counts_what_it_does_not_know(unknown: str) -> None:
    tokenizer = Tokenizer(characters(["\n", *"abcé"], unknown), end_token="\n")
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.unknown_id) == ("character", 5, None)
    for text, ids, num_unknown in (
        ("abc", [1, 2, 3], 0),
        ("aZb☃c!", [1, 2, 3], 3),
        ("☃", [], 1),
        ("a☃é", [1, 4], 1),
        ("", [], 0),
        ("aZ" * 1000, [1] * 1000, 1000),
    ):
        assert tokenizer.encode(text) == ids
        assert tokenizer.num_unknown(text, ids) == num_unknown
    assert tokenizer.decode([1, 0, 4]) == "aé"
    assert json.loads(tokenizer.to_json())["model"]["vocab"] == {"\n": 0, "a": 1, "b": 2, "c": 3, "é": 4}


def test_added_tokens_keep_their_ids_where_unknown_characters_are_left_out() -> None:
    backend = characters(list("abc"))
    backend.add_special_tokens(["</s>"])
    backend.add_tokens(["c"])
    tokenizer = Tokenizer(backend, end_token="</s>")
    assert (tokenizer.encode("a</s>cb"), tokenizer.end_id, tokenizer.vocab_size) == ([0, 2, 1], 3, 4)
    assert tokenizer.num_unknown("a</s>cb", [0, 2, 1]) == 4


def test_words_that_a_classifiers_tokenizer_has_no_token_for_are_left_out() -> None:
    tokenizer = read(lambda: words(models.WordLevel, has_unknown=False))
    assert tokenizer.encode("the awful film") == [0, 2, 3, 1]


def test_bytes_that_byte_level_bpe_lacks_are_counted() -> None:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(["the film"], trainers.BpeTrainer(show_progress=False))
    tokenizer = Tokenizer(backend)
    ids = tokenizer.encode("the fox film☃")
    assert tokenizer.decode(ids) == "the f film"
    assert tokenizer.num_unknown("the fox film☃", ids) == 3
    assert written(byte_bpe).num_unknown("☃", written(byte_bpe).encode("☃")) == 0
