"""Memory that was freed goes back to the system: glibc's allocator keeps it otherwise."""

import ctypes


def trim_memory() -> None:
    """Give freed memory back, which takes some milliseconds; a no-op without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
