import pytest

from models.cells import CELL_KINDS, CellKind
from models.config import LanguageModelConfig, RecurrentConfig, checked
from models.errors import ConfigError

GOOD = {"vocab_size": 10, "embedding_size": 4, "kind": "lstm", "hidden_size": 8, "num_layers": 2}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "qrnn"}, "kind: Value error, not a registered cell; registered: rnn-tanh, rnn-relu, lstm, gru"),
        ({"hidden_size": 0}, "hidden_size: Input should be greater than or equal to 1 (got 0)"),
        ({"hidden_size": "8"}, "hidden_size: Input should be a valid integer (got '8')"),
        ({"dropout": 1.0}, "dropout: Input should be less than 1 (got 1.0)"),
        ({"dropout": float("nan")}, "dropout"),
        ({"layers": 2}, "layers: Extra inputs are not permitted (got 2)"),
        ({"tied_embeddings": True}, "tied_embeddings needs embedding_size = hidden_size; got 4 and 8"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(LanguageModelConfig, {**GOOD, **change}, "recipe x.yaml")
    assert str(caught.value).startswith("recipe x.yaml: ")
    assert says in str(caught.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match="vocab_size: Field required"):
        checked(LanguageModelConfig, {key: value for key, value in GOOD.items() if key != "vocab_size"}, "x")


def test_a_config_survives_a_round_trip_and_cannot_be_changed() -> None:
    config = checked(LanguageModelConfig, GOOD, "x")
    assert checked(LanguageModelConfig, config.model_dump(), "x") == config
    with pytest.raises(ValueError, match="frozen"):
        config.hidden_size = 9  # type: ignore[misc]


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_the_row_holds_every_state_of_every_layer_and_direction(kind: CellKind) -> None:
    config = RecurrentConfig(kind=kind, input_size=3, hidden_size=5, num_layers=2, bidirectional=True)
    assert config.state_size == 5 * 2 * 2 * (2 if kind == "lstm" else 1)
