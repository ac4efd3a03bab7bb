"""How good the shipped translator and tagger are, on validation data, through the exported graphs.

Classifiers are measured by `python -m benchmarks.models`.

Every figure is of the int8 graphs that ship or of fp32 ones (built in a temporary store where the bundle has none),
decoded as the server decodes, beside baselines that are made in the same run from the same training data.

    RNNSERVE_DATA=FOLDER python -m benchmarks quality
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.quality import tagging as tagging_quality
from benchmarks.quality import translation as translation_quality
from benchmarks.report import Report
from models.bundle import Bundle
from models.errors import BundleNotFoundError, RnnserveError
from models.store import Store
from training.data.corpus import VARIABLE

MEASURES: dict[str, Callable[[Bundle], dict[str, Any]]] = {
    "translate-en-zh": translation_quality.measure,
    "tag-en": tagging_quality.measure,
    "entities-en": tagging_quality.measure,  # which do not ship, but may be in a store
    "entities-zh": tagging_quality.measure,
}


def main() -> Report:
    """Measure."""
    if not os.environ.get(VARIABLE):
        sys.exit(f"{VARIABLE} is not set: `quality` reads validation data. Set it to the folder of the data sets.")
    store = Store(Path(os.environ.get("RNNSERVE_STORE", "artifacts")))
    results: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        try:
            bundle = Bundle(store.resolve(name))
        except BundleNotFoundError as error:
            print(f"{name} is left out: {error}")
            continue
        try:
            results[name] = {"bundle_sha256": bundle.record.sha256, **measure(bundle)}
        except RnnserveError as error:
            sys.exit(f"{bundle.id}: {error}")
    return Report("quality", [], results)
