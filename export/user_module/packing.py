"""Packed sequences as tensors with every axis dynamic, put below the names that users import.

PyTorch's exporter knows no packed sequence. `pack_padded_sequence`, `pack_sequence`, `pad_packed_sequence` and
`PackedSequence` themselves stay as they are, wherever a user has imported them from; only the two kernels that they
call, `torch._VF._pack_padded_sequence` and `torch._VF._pad_packed_sequence`, are replaced while a module is traced (and
the kernel of pad_sequence, which pack_sequence calls).

A packed tensor [sum of lengths, ...] is made as PyTorch makes it, so a user's forward may read `.data` and put other
values in a PackedSequence. Beside it the padded tensor is remembered, and recurrent layers and pad_packed_sequence take
that; what nobody asked for is removed from the graph afterwards.

The longest length is taken to be the padded time: PyTorch cuts the rest off, a graph does not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols, statically_known_true, sym_eq

from models.errors import UnsupportedModelError


@dataclass(frozen=True)
class Packing:
    """How the rows of one packed batch lie.

    Attributes:
        lengths: int64 [batch], in the packed order of rows.
        is_valid: bool [time, batch], where a row has not ended.
        places: int64 [sum of lengths], where each packed element lies in [time * batch].
    """

    lengths: Tensor
    is_valid: Tensor
    places: Tensor

    def packed(self, padded: Tensor) -> Tensor:
        """[time, batch, ...] -> [sum of lengths, ...], in PyTorch's order: by time, then by row."""
        return padded.flatten(0, 1).index_select(0, self.places)

    def padded(self, packed: Tensor) -> Tensor:
        """[sum of lengths, ...] -> [time, batch, ...], zero past the lengths."""
        time, batch = self.is_valid.shape
        flat = packed.new_zeros(time * batch, *packed.shape[1:]).index_copy(0, self.places, packed)
        return flat.reshape(time, batch, *packed.shape[1:])


class Packings:
    """The packed batches of one trace, found again by the very tensors that a PackedSequence holds.

    Attributes:
        totals: the symbols that stand for sums of lengths.
    """

    def __init__(self) -> None:
        # The tensors are kept with what is known of them, so that no other can get their id.
        self._packings: dict[int, tuple[Tensor, Packing]] = {}
        self._padded: dict[int, tuple[Tensor, Tensor]] = {}
        self.totals: set[Any] = set()

    @contextmanager
    def in_place_of_kernels(self) -> Iterator[None]:
        """While open, torch packs and pads through this."""
        kernels = vars(torch._VF)  # without these names until now: it hands them on to the kernels
        kernels.update(_pack_padded_sequence=self._pack, _pad_packed_sequence=self._pad)
        pad_sequence = torch._C._nn.pad_sequence
        torch._C._nn.pad_sequence = _pad_sequence
        try:
            yield
        finally:
            del kernels["_pack_padded_sequence"], kernels["_pad_packed_sequence"]
            torch._C._nn.pad_sequence = pad_sequence

    def padded(self, data: Tensor, batch_sizes: Tensor) -> tuple[Tensor, Tensor]:
        """A packed batch as a padded one.

        Args:
            data: of a PackedSequence, [sum of lengths, ...].
            batch_sizes: of it.

        Returns:
            [time, batch, ...] and the lengths int64 [batch], rows in the packed order.
        """
        packing = self._packing(batch_sizes)
        return self._padded_data(data, packing), packing.lengths

    def packed(self, padded: Tensor, batch_sizes: Tensor) -> Tensor:
        """Other values [time, batch, ...] of a packed batch, as its data [sum of lengths, ...]."""
        return self._remembered(self._packing(batch_sizes).packed(padded), padded)

    def num_rows(self, tensor: Tensor) -> torch.SymInt | int | None:
        """What the first of a packed batch's batch_sizes is, as every row has a step; None of another tensor."""
        held = self._packings.get(id(tensor))
        return None if held is None else held[1].is_valid.shape[1]

    def _packing(self, batch_sizes: Tensor) -> Packing:
        held = self._packings.get(id(batch_sizes))
        if held is None:
            raise UnsupportedModelError(
                "A PackedSequence has batch_sizes that pack_padded_sequence did not give in this forward: the module "
                "makes or changes them itself, so each row's length is not known. Make it by "
                "pack_padded_sequence(values, lengths), or give another PackedSequence's own batch_sizes on."
            )
        return held[1]

    def _padded_data(self, data: Tensor, packing: Packing) -> Tensor:
        held = self._padded.get(id(data))
        return packing.padded(data) if held is None else held[1]

    def _remembered(self, data: Tensor, padded: Tensor) -> Tensor:
        self._padded[id(data)] = (data, padded)
        return data

    def _pack(self, values: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
        padded = values.transpose(0, 1) if batch_first else values
        is_valid = torch.arange(padded.shape[0]).unsqueeze(1) < lengths.unsqueeze(0)
        places = is_valid.flatten().nonzero().squeeze(1)
        torch._check(places.shape[0] >= 1)  # type: ignore[no-untyped-call]  # every row holds something, which code over packed data may rely on
        self.totals |= free_unbacked_symbols(places.shape[0])
        packing = Packing(lengths, is_valid, places)
        batch_sizes = is_valid.sum(1)
        self._packings[id(batch_sizes)] = (batch_sizes, packing)
        return self._remembered(packing.packed(padded), padded), batch_sizes

    def _pad(
        self,
        data: Tensor,
        batch_sizes: Tensor,
        batch_first: bool,
        padding_value: float,
        total_length: int,
    ) -> tuple[Tensor, Tensor]:
        packing = self._packing(batch_sizes)
        padded = self._padded_data(data, packing)
        time = padded.shape[0]
        is_valid = packing.is_valid.reshape(*packing.is_valid.shape, *[1] * (padded.dim() - 2))
        padded = torch.where(is_valid, padded, padding_value)
        if not statically_known_true(sym_eq(total_length, time)):
            rest = padded.new_full((total_length - time, *padded.shape[1:]), padding_value)
            padded = torch.cat([padded, rest])
        return (padded.transpose(0, 1) if batch_first else padded), packing.lengths


def _pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """torch._C._nn.pad_sequence, with the longest of dynamic axes kept dynamic."""
    longest = reduce(torch.sym_max, [sequence.shape[0] for sequence in sequences])
    padded = []
    for sequence in sequences:
        rest = sequence.new_full((longest - sequence.shape[0], *sequence.shape[1:]), padding_value)
        padded.append(torch.cat([rest, sequence] if padding_side == "left" else [sequence, rest]))
    return torch.stack(padded, dim=0 if batch_first else 1)
