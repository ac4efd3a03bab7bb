import pytest

from models.cells import CELL_KINDS, CellKind
from models.config import RecurrentConfig


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_parts_cover_the_row_without_gap_or_overlap(kind: CellKind, bidirectional: bool) -> None:
    config = RecurrentConfig(kind=kind, input_size=3, hidden_size=5, num_layers=3, bidirectional=bidirectional)
    offset = 0
    for entry in config.row:
        assert entry.offset == offset
        offset += entry.size
    assert offset == config.state_size


def test_an_lstm_row_is_all_h_then_all_c() -> None:
    config = RecurrentConfig(kind="lstm", input_size=3, hidden_size=5, num_layers=2)
    assert [entry.name for entry in config.row] == ["h0", "h1", "c0", "c1"]
