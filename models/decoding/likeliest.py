"""The k largest numbers of each row, ties going to the lower index. Knows arrays only, not what they mean."""

import numpy as np
from numpy.typing import NDArray


def likeliest_ids(z: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Where the k largest of each row lie.

    Args:
        z: float32 [n, V], C-contiguous.
        k: 1 .. V.

    Returns:
        int64 [n, k], ascending in each row.
    """
    at = z.shape[1] - k
    least = np.partition(z, at, axis=1)[:, at]
    kept = largest_mask(z, least, np.full(len(z), k))
    ids: NDArray[np.int64] = np.flatnonzero(kept).reshape(len(z), k) % z.shape[1]
    return ids


def largest_mask(z: NDArray[np.float32], least: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which numbers are among the counts[i] largest of row i.

    Args:
        z: float32 [n, V].
        least: float32 [n], the counts[i]-th largest number of row i.
        counts: int64 [n].

    Returns:
        bool [n, V], counts[i] true in row i; of numbers equal to least[i], those with lower indices.
    """
    kept = z >= least[:, None]
    crowded = np.flatnonzero(np.count_nonzero(kept, axis=1) > counts)
    if len(crowded):
        rows, floor = z[crowded], least[crowded, None]
        above = rows > floor
        ties = rows == floor
        room = counts[crowded] - np.count_nonzero(above, axis=1)
        kept[crowded] = above | (ties & (np.cumsum(ties, axis=1) <= room[:, None]))
    return kept
