import torch

from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.generation.card import NUM_TOKENS, sample


def model_for(tokenizer: Tokenizer) -> LanguageModel:
    torch.manual_seed(0)
    size = tokenizer.vocab_size
    config = LanguageModelConfig(vocab_size=size, embedding_size=4, kind="gru", hidden_size=5, num_layers=1)
    return LanguageModel(config).eval()


def test_a_sample_depends_on_its_seed_alone() -> None:
    tokenizer = Tokenizer.character(["abc\n"])
    model = model_for(tokenizer)
    first = sample(model, tokenizer, seed=1)
    torch.randn(3)
    assert sample(model, tokenizer, seed=1) == first
    assert sample(model, tokenizer, seed=2) != first
    assert len(first) == NUM_TOKENS


def test_document_ends_are_shown_as_line_ends() -> None:
    tokenizer = Tokenizer.character(["ab"], end_token=True)
    assert "\n" in sample(model_for(tokenizer), tokenizer, seed=1)


def test_a_text_without_line_ends_still_has_a_beginning() -> None:
    tokenizer = Tokenizer.character(["ab"])
    assert sample(model_for(tokenizer), tokenizer, seed=1)
