"""What each recurrent cell is, as data: its gates, their order in PyTorch and ONNX, the parts of its state. No torch.

A cell of your own is one more record and a torch step (models.network.cells); a bundle carries its state row's layout,
so a server needs neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from models.errors import ConfigError

ANY_CELL = "any cell"  # in a validation's context: a record may name a cell that this process does not know

NTM_LOCATIONS = 128  # N, in the memory of a Neural Turing Machine (Graves et al. 2014)
NTM_WIDTH = 20  # M, numbers at a location


@dataclass(frozen=True)
class Cell:
    """One kind of cell.

    Attributes:
        kind: its name in configurations.
        state: the parts of its state, the cell's output first.
        widths: of the parts that are not as wide as the hidden state; the output always is.
        gates: a letter for each block of rows of PyTorch's weights, in their order; "" for a cell of your own.
        onnx_gates: the same letters in the order of the ONNX operator.
        onnx_operator: the ONNX operator; None for a cell whose step is traced.
    """

    kind: str
    state: tuple[str, ...] = ("h",)
    widths: Mapping[str, int] = field(default_factory=dict)
    gates: str = ""
    onnx_gates: str = ""
    onnx_operator: str | None = None

    @property
    def onnx_order(self) -> tuple[int, ...]:
        """For each gate of the ONNX operator, which of PyTorch's it is."""
        return tuple(self.gates.index(gate) for gate in self.onnx_gates)


_CELLS = {
    cell.kind: cell
    for cell in (
        Cell("rnn-tanh", gates="h", onnx_gates="h", onnx_operator="RNN"),
        Cell("rnn-relu", gates="h", onnx_gates="h", onnx_operator="RNN"),
        Cell("lstm", state=("h", "c"), gates="ifco", onnx_gates="iofc", onnx_operator="LSTM"),
        Cell("gru", gates="rzh", onnx_gates="zrh", onnx_operator="GRU"),
        Cell("layer-norm-lstm", state=("h", "c")),
        Cell("min-gru"),
        Cell(
            "ntm",
            state=("h", "c", "memory", "weights"),
            widths={
                "memory": NTM_LOCATIONS * NTM_WIDTH,
                "weights": 2 * NTM_LOCATIONS,
            },  # of the write and the read head
        ),
    )
}
CELL_KINDS = tuple(
    kind for kind, cell in _CELLS.items() if cell.onnx_operator
)  # those of PyTorch, with every graph set
TRACED_KINDS = tuple(kind for kind in _CELLS if kind not in CELL_KINDS)  # whose steps are models.network.cells; fp32


def add_cell(cell: Cell) -> None:
    """Make a cell known by its kind; once more with an equal record changes nothing.

    Raises:
        ConfigError: another cell has the kind.
    """
    if _CELLS.setdefault(cell.kind, cell) != cell:
        raise ConfigError(f"Cell {cell.kind!r} is already registered with other contents; choose another kind.")


def cell_of(kind: str) -> Cell:
    """The cell of that kind.

    Raises:
        ConfigError: it is not registered; the message lists those that are.
    """
    if kind not in _CELLS:
        raise ConfigError(f"Unknown cell {ascii(kind)[:80]}. Registered cells: {', '.join(_CELLS)}.")
    return _CELLS[kind]


def _registered(kind: str, info: ValidationInfo) -> str:
    if kind not in _CELLS and not (info.context or {}).get(ANY_CELL):
        raise ValueError(f"not a registered cell; registered: {', '.join(_CELLS)}")
    return kind


CellKind = Annotated[str, AfterValidator(_registered)]  # a field of a record that must name a registered cell
