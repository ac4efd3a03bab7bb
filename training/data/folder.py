"""The folder of downloaded data sets, named by RNNSERVE_DATA. It is read and never written."""

import os
from pathlib import Path

from models.errors import DataError
from training.data.corpus import Origin

VARIABLE = "RNNSERVE_DATA"


def read_dataset(file: str, origin: Origin) -> bytes:
    """The bytes of a file of the data folder.

    Args:
        file: path relative to the folder, "tinyshakespeare/input.txt".
        origin: where a user gets it, for the message.

    Raises:
        DataError: the variable is not set or the file is not there; the message gives address, licence and variable.
    """
    root = os.environ.get(VARIABLE)
    if not root:
        reason = f"{VARIABLE} is not set"
    else:
        path = Path(root) / file
        try:
            return path.read_bytes()
        except OSError as error:
            reason = f"{path} cannot be read ({error.strerror})"
    raise DataError(
        f"{origin.title}: {reason}. Download it from {origin.upstream} (licence: {origin.licence}), "
        f"save it as FOLDER/{file}, and set {VARIABLE}=FOLDER."
    )
