"""`python -m benchmarks [NAME ...]`: run these benchmarks (the names are below), all by default."""

import sys
from collections.abc import Callable

from benchmarks import (
    over_http,
    overload,
    precision,
    quality,
    sentiment_serving,
    start,
    step,
    translation_serving,
)

ALL: dict[str, Callable[[], None]] = {
    "step": step.main,
    "precision": precision.main,
    "http": over_http.main,
    "quality": quality.main,
    "translation": translation_serving.main,
    "sentiment": sentiment_serving.main,
    "start": start.main,
    "overload": overload.main,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    names = sys.argv[1:] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.exit(f"No benchmark {unknown[0]!r}. There are: {', '.join(ALL)}.")
    for name in names:
        ALL[name]()


if __name__ == "__main__":
    main()
