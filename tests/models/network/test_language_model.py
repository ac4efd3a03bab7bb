import torch

from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from tests.tiny_models import tiny_config, tiny_model


def test_the_state_after_a_prefix_stands_for_the_prefix() -> None:
    model = tiny_model(tiny_config("gru", 11))
    ids = torch.randint(11, (2, 8))
    whole, final = model(ids, model.recurrent.zero_state(2))
    _, state = model(ids[:, :5], model.recurrent.zero_state(2))
    rest, after = model(ids[:, 5:], state)
    torch.testing.assert_close(rest, whole[:, 5:])
    torch.testing.assert_close(after, final)


def test_tied_embeddings_are_one_parameter() -> None:
    config = LanguageModelConfig(
        vocab_size=7, embedding_size=6, kind="lstm", hidden_size=6, num_layers=1, tied_embeddings=True
    )
    model = LanguageModel(config)
    assert model.head.weight is model.embedding.weight
    assert "head.weight" not in dict(model.named_parameters())


def test_dropout_acts_in_training_only() -> None:
    config = tiny_config("lstm", 7).model_copy(update={"dropout": 0.5})
    model = LanguageModel(config)
    ids, state = torch.randint(7, (1, 4)), model.recurrent.zero_state(1)
    assert not torch.equal(model(ids, state)[0], model(ids, state)[0])
    model.eval()
    assert torch.equal(model(ids, state)[0], model(ids, state)[0])
