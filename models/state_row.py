"""The state row: one sequence's whole memory as one row of float32 numbers.

All layers' h, then all layers' c for an LSTM; within a layer, forward before backward. Backends and schedulers never
look inside the row; the names and offsets here are for people, for the bundle's record and for the graphs.
"""

from models.config import FrozenModel, RecurrentConfig


class RowEntry(FrozenModel):
    """One named part of the row: numbers offset .. offset + size."""

    name: str
    offset: int
    size: int


def row_layout(config: RecurrentConfig) -> tuple[RowEntry, ...]:
    """The parts of the row of a recurrent stack, in order; their sizes add up to config.state_size."""
    entries: list[RowEntry] = []
    offset = 0
    for part in config.state_names:
        for layer in range(config.num_layers):
            for direction in ("", ".backward")[: config.num_directions]:
                entries.append(RowEntry(name=f"{part}{layer}{direction}", offset=offset, size=config.hidden_size))
                offset += config.hidden_size
    return tuple(entries)
