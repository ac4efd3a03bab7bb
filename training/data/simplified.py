"""Chinese text in simplified characters, by OpenCC's table t2s (traditional to simplified)."""

import importlib
from collections.abc import Callable

from models.errors import ConfigError


def simplifier() -> Callable[[str], str]:
    """A function from text to the same text in simplified characters.

    Raises:
        ConfigError: the package opencc is not installed.
    """
    try:
        opencc = importlib.import_module("opencc")
    except ImportError:
        raise ConfigError(
            "data.simplified needs the package opencc, which is not installed: pip install opencc"
        ) from None
    convert: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return convert
