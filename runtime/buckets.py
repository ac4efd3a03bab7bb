"""The sizes that graphs run at on a GPU: a CUDA graph is recorded for one shape, so shapes come in few sizes."""

from runtime.padding import MULTIPLE


def buckets_up_to(largest: int) -> tuple[int, ...]:
    """Batch sizes 1, 2, 4, ... and at the end `largest` itself.

    Args:
        largest: rows, at least 1.
    """
    sizes = []
    size = 1
    while size < largest:
        sizes.append(size)
        size *= 2
    return (*sizes, largest)


def bucket_of(num_rows: int, largest: int) -> int:
    """The smallest of `buckets_up_to(largest)` that holds so many rows, 1 <= num_rows <= largest."""
    return min(1 << (num_rows - 1).bit_length(), largest)


def length_bucket(longest: int) -> int:
    """16 times the smallest power of two that holds so many positions."""
    return MULTIPLE << (-(-longest // MULTIPLE) - 1).bit_length()
