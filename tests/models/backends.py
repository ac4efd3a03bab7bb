"""Tokenizers of the `tokenizers` library, trained for tests."""

from collections.abc import Iterable

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors, trainers


def with_ends(backend: Backend, first: str, last: str) -> Backend:
    """The same with a mark in front of every text and one behind it."""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(token, backend.token_to_id(token)) for token in (first, last)]
    )
    return backend


def unigram(texts: Iterable[str]) -> Backend:
    """A SentencePiece vocabulary of 60 that holds its marks as pieces."""
    backend = Backend(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    marks = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=marks, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(texts, trainer)
    return with_ends(backend, "<s>", "</s>")
