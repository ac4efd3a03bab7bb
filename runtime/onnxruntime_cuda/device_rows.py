"""Rows that live on the device, one a slot: those of host memory join, and a gather brings them into a step's order."""

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from runtime.buckets import bucket_of
from runtime.onnxruntime_cuda.build import Device

Floats = NDArray[np.float32]
_PRESENT, _NEXT, _GATHERED = range(3)


class DeviceRows:
    """Three buffers on the device: one holds the present, a step writes the next, and a gather fills the third.

    So a step never writes what it reads, and one that fails leaves the rows as they were. The buffers change roles and
    never their addresses.

    Args:
        gather: a session of the model that picks rows.
        device: where the rows live.
        capacity: slots.
        shape: of one row.
    """

    def __init__(self, gather: Any, device: Device, capacity: int, shape: tuple[int, ...]) -> None:
        self._session = gather
        self._device = device
        self._capacity = capacity
        self._shape = shape
        self._buffers: dict[int, Any] = {}  # role -> buffer; each is made when it is first needed
        self._joining: dict[int, int] = {}  # slot -> row of the staged ones
        self._staged: Floats = np.zeros((capacity, *shape), np.float32)
        self._in_place = np.arange(capacity)
        self._uploads: dict[int, Any] = {}  # number of rows -> a place on the device for the staged ones
        self._indices: dict[int, Any] = {}  # number of rows -> a place on the device for the index

    def put(self, slot: int, row: Floats) -> None:
        """Write a row; it reaches the device with the next gather."""
        self._staged[self._joining.setdefault(slot, len(self._joining))] = row

    def get(self, slot: int) -> Floats:
        """A copy of the row in a slot."""
        if slot in self._joining:
            staged: Floats = self._staged[self._joining[slot]].copy()
            return staged
        found: Floats = self._gather(np.array([slot]), None)[0]
        return found

    def arranged(self, parents: NDArray[np.int64], bucket: int) -> int:
        """Bring the rows of the slots `parents` into order.

        Args:
            parents: int64 [n], slots.
            bucket: at least n; rows past n are any rows.

        Returns:
            The address where [bucket, *shape] lies.
        """
        has_joined = any(slot in self._joining for slot in parents.tolist())
        if not has_joined and np.array_equal(parents, self._in_place[: len(parents)]):
            return self._address(_PRESENT)
        index = np.zeros(bucket, np.int64)
        index[: len(parents)] = [
            self._capacity + self._joining[slot] if slot in self._joining else slot for slot in parents.tolist()
        ]
        self._gather(index, _GATHERED)
        return self._address(_GATHERED)

    @property
    def present_address(self) -> int:
        """Where the present rows lie."""
        return self._address(_PRESENT)

    @property
    def next_address(self) -> int:
        """Where a step writes the new rows."""
        return self._address(_NEXT)

    def commit_next(self) -> None:
        """What the step wrote is the present; whatever other slots held is forgotten."""
        self._exchange(_NEXT)

    def commit_gathered(self) -> None:
        """The gathered rows are the present; whatever other slots held is forgotten."""
        self._exchange(_GATHERED)

    def _exchange(self, role: int) -> None:
        self._buffers[_PRESENT], self._buffers[role] = self._buffer(role), self._buffer(_PRESENT)
        self._joining.clear()

    def _gather(self, index: NDArray[np.int64], target: int | None) -> Any:
        """Gather into a buffer, or to the host where target is None."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("present", self._buffer(_PRESENT))
        binding.bind_ortvalue_input("joining", self._upload())
        binding.bind_ortvalue_input("index", self._placed(self._indices, index))
        if target is None:
            binding.bind_output("rows")
        else:
            shape = (len(index), *self._shape)
            binding.bind_output("rows", self._device.type, self._device.id, np.float32, shape, self._address(target))
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0] if target is None else None

    def _upload(self) -> Any:
        """The staged rows on the device, at least one."""
        num_rows = bucket_of(max(len(self._joining), 1), self._capacity)
        return self._placed(self._uploads, self._staged[:num_rows])

    def _placed(self, places: dict[int, Any], array: NDArray[Any]) -> Any:
        if len(array) not in places:
            places[len(array)] = self._on_device(array.copy())
        else:
            places[len(array)].update_inplace(array)
        return places[len(array)]

    def _buffer(self, role: int) -> Any:
        if role not in self._buffers:
            self._buffers[role] = self._on_device(np.zeros((self._capacity, *self._shape), np.float32))
        return self._buffers[role]

    def _address(self, role: int) -> int:
        address: int = self._buffer(role).data_ptr()
        return address

    def _on_device(self, array: NDArray[Any]) -> Any:
        return ort.OrtValue.ortvalue_from_numpy(array, self._device.type, self._device.id)
