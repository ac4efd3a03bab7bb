"""Reading chunks of unlike length without computing the padding: in pieces, each with the rows that still go on.

Which pieces depends on what else is in the call. So this is for int8 sets alone, whose sums are exact: they give the
same bits wherever a chunk is cut, which nobody knows of float32 graphs made elsewhere.
"""

import numpy as np
from numpy.typing import NDArray

EXACT_SET = "int8"
PIECE = 8  # tokens; cuts lie at multiples of it
_LEAST_SAVED = 16  # padded tokens that a cut must save: another call of the runtime costs about so much


def cuts(lengths: NDArray[np.int32]) -> list[int]:
    """Where to cut a call, in rising order; the last is the longest row's end.

    Args:
        lengths: int32 [n], n >= 1, each at least 1.
    """
    longest = int(lengths.max())
    found = []
    num_going = len(lengths)
    for cut in range(PIECE, longest, PIECE):
        num_left = int(np.count_nonzero(lengths > cut))
        if (num_going - num_left) * (longest - cut) >= _LEAST_SAVED:
            found.append(cut)
            num_going = num_left
    return [*found, longest]
