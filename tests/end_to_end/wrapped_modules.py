"""Models as people train them elsewhere, with what served answers go wrong by: marks, bans, masks, spare rows.

Each is untrained, its weights large enough that what it says depends on all that it reads. Its tokenizer is what its
author would have: several leave out, or cannot read, what they do not know.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.models.backends import unigram, with_ends

LETTERS = "abcdefghijklmnopqrstuvwxyz ,."
WORDS = ["the", "film", "was", "good", "bad", "dull", "great", "not", "very", "and", "soup"]
TEXT = ["the film was good and the soup was not bad.", "a great film, not dull.", "</s> [SEP] <|endoftext|>"] * 8


def run(layer: nn.Module, x: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, state = layer(packed, state)
    return pad_packed_sequence(outputs, batch_first=True)[0], state


def seeded(make: Callable[[], nn.Module], scale: float = 3.0) -> nn.Module:
    torch.manual_seed(4)
    module = make()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(scale if parameter.dim() > 1 else 1.0)
    return module.eval()


# Generation: a bare character tokenizer, whose end is a line break; the head is padded, and one letter is banned.
class BanningLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn = nn.Embedding(64, 24), nn.GRU(24, 24, batch_first=True)
        self.out = nn.Linear(24, 64)

    def forward(self, ids: Tensor, lengths: Tensor, h: Any = None) -> Any:
        x = self.emb(ids)
        y, h = run(self.rnn, x, lengths, h)
        logits = self.out(y + x)[..., : 1 + len(LETTERS)]
        return logits.index_fill(2, torch.tensor([LETTERS.index("e") + 1]), float("-inf")), h


def bare_characters() -> Backend:
    backend = Backend(models.WordLevel({token: i for i, token in enumerate("\n" + LETTERS)}))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    return backend


# Generation: byte-level BPE, whose end of text also begins one; reading it forgets all that was before.
class ForgettingLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn = nn.Embedding(BYTES.get_vocab_size(), 24), nn.LSTM(24, 24, batch_first=True)
        self.norm, self.out = nn.LayerNorm(24), nn.Linear(24, BYTES.get_vocab_size())

    def forward(self, ids: Tensor, lengths: Tensor, h: Any = None, c: Any = None) -> Any:
        y, (h, c) = run(self.rnn, self.emb(ids), lengths, None if h is None else (h, c))
        logits = self.out(self.norm(y))
        return torch.where((ids == 0)[:, : y.shape[1], None], logits.flip(2), logits), h, c


def byte_bpe() -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXT, trainer)
    return backend


BYTES = byte_bpe()


# Generation: one of ours in other words, with an unknown character.
class PlainLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn = nn.Embedding(2 + len(LETTERS), 16), nn.LSTM(16, 24, 2, batch_first=True)
        self.out = nn.Linear(24, 2 + len(LETTERS))

    def forward(self, ids: Tensor, lengths: Tensor, h: Any = None, c: Any = None) -> Any:
        y, (h, c) = run(self.rnn, self.emb(ids), lengths, None if h is None else (h, c))
        return self.out(y), h, c


def characters() -> Backend:
    tokens = ["<unk>", "</s>", *LETTERS]
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.add_special_tokens(["</s>"])
    return backend


# Sentiment: words split at spaces; padding and unknown words, id 0, are left out of the mean.
class MaskedReviews(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn = nn.Embedding(64, 16, padding_idx=0), nn.LSTM(16, 12, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(24, 3)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        y, _ = run(self.rnn, self.emb(ids), lengths)
        ids = ids[:, : y.shape[1]]
        kept = ((ids != 0) & (torch.arange(ids.shape[1]) < lengths[:, None])).unsqueeze(1).float()
        pooled = (kept @ y).squeeze(1) / kept.sum(2).clamp(min=1)
        result: Tensor = self.fc(pooled).index_fill(1, torch.tensor([2]), float("-inf"))
        return result


def split_words() -> Backend:
    tokens = ["[UNK]", "[CLS]", "[SEP]", *WORDS]
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    return with_ends(backend, "[CLS]", "[SEP]")


# Sentiment: one of ours; a SentencePiece vocabulary that holds its marks as pieces.
class PlainReviews(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(PIECES.get_vocab_size(), 16)
        self.rnn, self.fc = nn.GRU(16, 12, batch_first=True, bidirectional=True), nn.Linear(24, 2)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        _, h = run(self.rnn, self.emb(ids), lengths)
        result: Tensor = self.fc(torch.cat([h[0], h[1]], dim=1))
        return result


PIECES = unigram(TEXT)


# Sentiment: words whose tokenizer has nothing for what is unknown.
class BagReviews(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(len(WORDS), 16, mode="sum")
        self.emb, self.rnn = nn.Embedding(len(WORDS), 16), nn.GRU(16, 16, batch_first=True)
        self.fc = nn.Linear(32, 1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        is_text = torch.arange(ids.shape[1]) < lengths[:, None]
        _, h = run(self.rnn, self.emb(ids), lengths)
        bag = self.bag(ids, per_sample_weights=is_text.float())
        result: Tensor = self.fc(torch.cat([h[0], bag], dim=1)).squeeze(1)
        return result


def bare_words() -> Backend:
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(WORDS)}))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend


# Tagging: words, each of one token, with labels; a norm before the head.
class NormedTagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn = nn.Embedding(len(WORDS), 16), nn.LSTM(16, 12, batch_first=True, bidirectional=True)
        self.norm, self.fc = nn.LayerNorm(24), nn.Linear(24, 3)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        result: Tensor = self.fc(self.norm(run(self.rnn, self.emb(ids), lengths)[0]))
        return result


# Translation: begins with <s>, ends with </s>, never writes <unk>.
class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        size = 3 + len(LETTERS)
        self.emb, self.enc = nn.Embedding(size, 16), nn.GRU(16, 16, batch_first=True, bidirectional=True)
        self.dec, self.out = nn.GRUCell(16, 32), nn.Linear(64, size)

    def encode(self, ids: Tensor, lengths: Tensor) -> Any:
        memory, last = run(self.enc, self.emb(ids), lengths)
        return memory, memory, torch.cat([last[0], last[1]], dim=1)

    def step(self, token: Tensor, state: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor) -> Any:
        state = self.dec(self.emb(token), state)
        past = torch.arange(keys.shape[1]) >= lengths[:, None]
        attention = (keys @ state.unsqueeze(2)).squeeze(2).masked_fill(past, -1e9).softmax(1)
        context = (attention.unsqueeze(1) @ memory).squeeze(1)
        logits = self.out(torch.cat([context, state], dim=1))
        return logits.index_fill(1, torch.tensor([0, 1]), float("-inf")), state, attention


def marked_characters() -> Backend:
    tokens = ["<unk>", "<s>", "</s>", *LETTERS]
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    return backend


def banning_lm() -> nn.Module:
    return seeded(BanningLM)


def forgetting_lm() -> nn.Module:
    return seeded(ForgettingLM)


def plain_lm() -> nn.Module:
    return seeded(PlainLM, 1.5)


def masked_reviews() -> nn.Module:
    return seeded(MaskedReviews)


def plain_reviews() -> nn.Module:
    return seeded(PlainReviews, 2.0)


def bag_reviews() -> nn.Module:
    return seeded(BagReviews, 1.0)


def normed_tagger() -> nn.Module:
    return seeded(NormedTagger)


def translator() -> nn.Module:
    return seeded(Translator)


@dataclass(frozen=True)
class Case:
    """A model and what it is wrapped with; options as WrapOptions has them."""

    make: Callable[[], nn.Module]
    task: str
    tokenizer: Callable[[], Backend]
    way: str
    options: dict[str, Any] = field(default_factory=dict)


_TRANSLATION = {"source": "en", "target": "de", "start_token": "<s>", "end_token": "</s>"}
CASES = {
    "banning": Case(banning_lm, "generation", bare_characters, "wrapped", {"end_token": "\n"}),
    "forgetting": Case(forgetting_lm, "generation", byte_bpe, "wrapped", {"end_token": "<|endoftext|>"}),
    "plain": Case(plain_lm, "generation", characters, "native", {"end_token": "</s>"}),
    "masked": Case(masked_reviews, "sentiment", split_words, "wrapped", {"labels": ("bad", "good", "never")}),
    "pieces": Case(plain_reviews, "sentiment", lambda: PIECES, "native", {"labels": ("bad", "good")}),
    "bag": Case(bag_reviews, "sentiment", bare_words, "wrapped", {"labels": ("bad", "good")}),
    "normed": Case(normed_tagger, "tagging", bare_words, "wrapped", {"labels": ("O", "B-x", "I-x")}),
    "translator": Case(translator, "translation", marked_characters, "wrapped", _TRANSLATION),
}
