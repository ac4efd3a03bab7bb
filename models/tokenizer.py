"""Text to token ids and back, over Hugging Face `tokenizers`.

Two kinds: character-level with <unk>, and byte-level BPE (Sennrich et al. 2016 over bytes, so nothing is unknown).
In both, text is the concatenation of each token's bytes, which is what lets a stream be detokenised token by token.
The input is normalised to NFC; byte-level BPE for a classifier, which writes no text, may also read everything in lower
case. A tokenizer made elsewhere may mark the ends of a text by tokens of its own, and one that only reads (a
classifier's) may be of any kind. Knows nothing of models or files on disk.

"<unk>", "<eos>" and other marks are ids, not text: a user who types the five characters "<eos>" gets five (or so)
ordinary tokens (models.plain_text). A tokenizer without <unk> leaves out what it does not know.
"""

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers.models import BPE, WordLevel

from models.errors import TokenizerError
from models.plain_text import plain_text_description
from models.tokenizer_kind import (
    Description,
    ReadingKind,
    TokenizerKind,
    is_lowercase,
    kind_of,
    reads_each_character,
    why_text_is_changed,
    why_text_is_lost,
)

UNKNOWN_TOKEN = "<unk>"
END_TOKEN = "<eos>"
_SHORT = 1000  # characters; tokens of so many are found in about a millisecond
_WORD_NORMALIZER = normalizers.Sequence(
    [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(Regex("[0-9]"), "0")]
)
REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


class Tokenizer:
    """A trained tokenizer.

    Args:
        backend: the library's; it is not to be used otherwise. Its padding is switched off, and, where text is
            written, its truncation too: the server has limits of its own.
        end_token: the token that ends a text.
        only_reads: whether ids never become text, so that any kind will do.

    Attributes:
        kind: "character" or "byte-bpe", or another where it only reads.
        vocab_size: V, the number of ids.
        end_token: as given.
        unknown_id: the id of <unk>, or None: byte-level BPE, and what leaves unknown ones out.
        end_id: the id of the end token, or None when the training text had no document ends.
        is_lowercase: whether text is read in lower case, so that its case cannot come back.

    Raises:
        TokenizerError: text is not a concatenation of token bytes, and is to be written.
    """

    def __init__(self, backend: BackendTokenizer, *, end_token: str = END_TOKEN, only_reads: bool = False) -> None:
        backend.no_padding()
        if not only_reads:
            backend.no_truncation()
        self._backend = backend
        self._only_reads = only_reads
        self._description: Description = json.loads(backend.to_str())
        wrong = why_text_is_changed(self._description) or why_text_is_lost(self._description, end_token)
        if wrong is not None and not only_reads:
            raise TokenizerError(wrong)
        self.is_lowercase: bool = is_lowercase(self._description)
        self.kind: TokenizerKind | ReadingKind = kind_of(self._description, end_token)
        self.vocab_size: int = backend.get_vocab_size()
        self.end_token = end_token
        unknown = self._description["model"].get("unk_token") or UNKNOWN_TOKEN
        self.unknown_id: int | None = backend.token_to_id(unknown) if self.kind == "character" else None
        self.end_id: int | None = backend.token_to_id(end_token)
        plain = plain_text_description(self._description, None if only_reads else end_token)
        self._encoder, self._left_out_id = backend, None  # of texts; the id in its answers that is no token
        if plain is not None:
            self._encoder, self._left_out_id = BackendTokenizer.from_str(json.dumps(plain[0])), plain[1]
        self._encoder.encode_special_tokens = True  # marks that a user types are text; the library never stores this

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as its file and its options, because the library loses settings on the way."""
        return _restored, (self.to_json(), self.end_token, self._only_reads)

    @classmethod
    def character(cls, texts: Iterable[str], *, end_token: bool = False) -> Self:
        """A tokenizer whose tokens are the characters of the texts (after NFC), in code point order.

        Args:
            texts: the training texts.
            end_token: whether to reserve an id for <eos>.
        """
        normalizer = normalizers.NFC()
        seen: set[str] = set()
        for text in texts:
            seen.update(normalizer.normalize_str(text))
        tokens = [UNKNOWN_TOKEN, *([END_TOKEN] if end_token else []), *sorted(seen)]
        backend = BackendTokenizer(WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNKNOWN_TOKEN))
        backend.normalizer = normalizer
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
        backend.decoder = decoders.Fuse()
        return cls(backend)

    @classmethod
    def byte_bpe(
        cls, texts: Iterable[str], vocab_size: int, *, end_token: bool = False, lowercase: bool = False
    ) -> Self:
        """A byte-level BPE tokenizer trained on the texts.

        Args:
            texts: the training texts.
            vocab_size: upper bound on the number of ids, at least 257 with an end token, else 256.
            end_token: whether to reserve an id for <eos>.
            lowercase: whether to read all text in lower case; not for a model that writes text.

        Raises:
            TokenizerError: vocab_size is too small to hold every byte.
        """
        least = 256 + end_token
        if vocab_size < least:
            raise TokenizerError(f"vocab_size {vocab_size} is too small for byte-level BPE: at least {least}.")
        backend = BackendTokenizer(BPE())
        nfc = normalizers.NFC()
        backend.normalizer = normalizers.Sequence([nfc, normalizers.Lowercase()]) if lowercase else nfc
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_TOKEN] if end_token else [],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        plain = json.loads(backend.to_str())
        plain["added_tokens"] = []  # so that "<eos>" typed by a user stays text
        return cls(BackendTokenizer.from_str(json.dumps(plain)))

    @classmethod
    def word_level(cls, words: Iterable[str]) -> Self:
        """A tokenizer that knows whole words, in lower case and with 0 for every digit, and reads others as <unk>.

        Args:
            words: each once, as this tokenizer's `normalized` gives them.
        """
        backend = BackendTokenizer(
            WordLevel({word: i for i, word in enumerate([UNKNOWN_TOKEN, *words])}, unk_token=UNKNOWN_TOKEN)
        )
        backend.normalizer = _WORD_NORMALIZER
        return cls(backend, only_reads=True)

    @staticmethod
    def normalized(word: str) -> str:
        """A word as `word_level` reads it."""
        text: str = _WORD_NORMALIZER.normalize_str(word)
        return text

    @classmethod
    def from_json(cls, text: str, *, end_token: str = END_TOKEN, only_reads: bool = False) -> Self:
        """Load what `to_json` gave, or another program's tokenizer.json; arguments as for the class.

        Raises:
            TokenizerError: it is not a tokenizer file, or not of a kind whose text is a concatenation of token bytes.
        """
        try:
            backend = BackendTokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception for a bad file
            raise TokenizerError(f"tokenizer.json cannot be read: {error}") from None
        return cls(backend, end_token=end_token, only_reads=only_reads)

    def to_json(self) -> str:
        """The tokenizer as the text of a tokenizer.json file."""
        text: str = self._backend.to_str()
        return text

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the marks around it that the tokenizer puts there; may be none.

        Raises:
            TokenizerError: the text holds a lone surrogate, which is not text.
        """
        ids = self._all_ids(text)
        return ids if self._left_out_id is None else [i for i in ids if i != self._left_out_id]

    def encode_words(self, words: Sequence[str]) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """Token ids of words that were split already, with the marks around them that the tokenizer puts there.

        Args:
            words: each is read on its own.

        Returns:
            Of each token its id, which word it is of (-1: a mark around the text), and its characters within the word.

        Raises:
            TokenizerError: a word holds a lone surrogate, which is not text.
        """
        try:
            encoding = self._encoder.encode(list(words), is_pretokenized=True)
        except (UnicodeEncodeError, TypeError):
            raise TokenizerError("a word holds a lone surrogate; send valid Unicode.") from None
        kept = [
            (i, word, span)
            for i, word, span in zip(encoding.ids, encoding.word_ids, encoding.offsets, strict=True)
            if i != self._left_out_id
        ]
        return [i for i, _, _ in kept], [-1 if word is None else word for _, word, _ in kept], [s for _, _, s in kept]

    def num_unknown(self, text: str, ids: Sequence[int]) -> int:
        """How many characters of a text the tokenizer does not know.

        Args:
            text: the text.
            ids: what encode gives for it.
        """
        if self.unknown_id is not None:
            return ids.count(self.unknown_id)
        if self._left_out_id is not None:
            return self._all_ids(text).count(self._left_out_id)
        if self._known_bytes is None:
            return 0
        characters = unicodedata.normalize("NFC", text)
        return sum(not self._known_bytes.issuperset(character.encode()) for character in characters)

    def _all_ids(self, text: str) -> list[int]:
        """As encode, with an id for what is left out."""
        if self._ascii_ids is not None and text.isascii():
            ids: list[int] = self._ascii_ids[np.frombuffer(text.encode(), np.uint8)].tolist()
            return ids
        try:
            # Of the library's ways to encode, the batch one lets other threads run meanwhile, but takes longer.
            if len(text) <= _SHORT:
                encoding = self._encoder.encode(text)
            else:
                (encoding,) = self._encoder.encode_batch_fast([text])
        except (UnicodeEncodeError, TypeError):
            raise TokenizerError(f"text {ascii(text)[:80]} holds a lone surrogate; send valid Unicode.") from None
        ids = encoding.ids
        return ids

    @cached_property
    def _known_bytes(self) -> frozenset[int] | None:
        """Of byte-level BPE that lacks bytes, those that it has; None where nothing is unknown."""
        if self.kind != "byte-bpe":
            return None
        known = frozenset(content[0] for content in self.token_bytes if len(content) == 1)
        return known if len(known) < 256 else None

    @cached_property
    def _ascii_ids(self) -> NDArray[np.int64] | None:
        """Of each ASCII character its id, int64 [128], where a text's ids are those of its characters.

        A table is a hundred times as fast as the library, which takes a microsecond for each character. Beyond ASCII
        characters may compose (NFC).
        """
        if not reads_each_character(self._description):
            return None
        return np.array([self._encoder.encode(chr(code)).ids[0] for code in range(128)], np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids: their bytes joined, bytes that are not UTF-8 shown as U+FFFD."""
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", errors="replace")

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes that each id adds to the text. <eos> and other marks add none; <unk> adds U+FFFD.

        Raises:
            TokenizerError: an id has no token, or a token of byte-level BPE is not made of bytes.
        """
        by_id = {i: token for token, i in self._backend.get_vocab().items()}
        byte_of = _byte_of_character() if self.kind == "byte-bpe" else {}
        added = {item["id"]: item for item in self._description.get("added_tokens") or []}

        def content(i: int) -> bytes:
            """What the id adds to a text."""
            if i == self.unknown_id:
                return REPLACEMENT
            if i == self.end_id or (i in added and added[i]["special"]):
                return b""
            if i not in by_id:
                raise TokenizerError(
                    f"tokenizer has {self.vocab_size} tokens but none with id {i}; number them from 0."
                )
            if self.kind == "character" or i in added:
                return by_id[i].encode()
            try:
                return bytes(byte_of[character] for character in by_id[i])
            except KeyError:
                raise TokenizerError(f"tokenizer token {i} {by_id[i]!r} is not made of bytes, as BPE's are.") from None

        return tuple(content(i) for i in range(self.vocab_size))

    @property
    def mark_ids(self) -> tuple[int, ...]:
        """Tokens that are not text, in order: what is unknown, the end token, and the special ones."""
        special = [item["id"] for item in self._description.get("added_tokens") or [] if item["special"]]
        unknown = self._backend.token_to_id(self._description["model"].get("unk_token") or UNKNOWN_TOKEN)
        return tuple(sorted({i for i in (*special, unknown, self.end_id) if i is not None}))

    @cached_property
    def max_characters_per_token(self) -> int:
        """The most characters of input that one token can stand for, for a length bound before tokenizing."""
        if self.kind not in ("character", "byte-bpe") or self._description.get("truncation"):
            return sys.maxsize
        if self._left_out_id is not None or self._known_bytes is not None:
            return sys.maxsize  # what is left out makes no token
        longest = 1 if self.kind == "character" else max(len(content) for content in self.token_bytes)
        return 4 * longest  # NFC joins at most 4 code points into one, as in U+1F82


def _restored(text: str, end_token: str, only_reads: bool) -> Tokenizer:
    """A tokenizer from what it was copied as."""
    return Tokenizer.from_json(text, end_token=end_token, only_reads=only_reads)


def _byte_of_character() -> dict[str, int]:
    """The printable stand-in that byte-level BPE writes for each byte, reversed (the table of Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]

    def pairs() -> Iterator[tuple[str, int]]:
        yield from ((chr(byte), byte) for byte in printable)
        rest = (byte for byte in range(256) if byte not in set(printable))
        yield from ((chr(256 + n), byte) for n, byte in enumerate(rest))

    return dict(pairs())
