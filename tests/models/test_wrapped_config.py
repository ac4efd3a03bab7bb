from typing import Any

import pytest

from models.architecture import WrappedConfig
from models.config import checked
from models.errors import ConfigError

GENERATION: dict[str, Any] = {
    "task": "generation",
    "vocab_size": 30,
    "state": [{"name": "h", "shape": [2, 8]}, {"name": "seen", "shape": []}],
}


def test_the_row_holds_every_part_in_order() -> None:
    config = checked(WrappedConfig, GENERATION, "a test")
    assert [(entry.name, entry.offset, entry.size) for entry in config.row] == [("h", 0, 16), ("seen", 16, 1)]
    assert config.state_size == 17
    assert WrappedConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"state": []}, "for generation has state"),
        ({"memory_width": 4}, r"for generation has state, vocab_size; wrong: \['memory_width'\]"),
        ({"task": "translation"}, "has keys_width, memory_width, state, vocab_size; wrong"),
        ({"task": "sentiment", "num_classes": 2}, "for sentiment has num_classes, vocab_size; wrong"),
        ({"state": [{"name": "h", "shape": [0]}]}, "greater than or equal to 1"),
    ],
)
def test_fields_of_another_task_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        checked(WrappedConfig, GENERATION | change, "a test")
