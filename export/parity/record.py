"""What verification found, as JSON in the machine's cache: a set's folder is sealed, and figures are a machine's."""

from pathlib import Path

from export.report import Report
from models.bundle import Bundle
from models.digest import as_json, write_durably
from runtime.device import cache_folder


def write_record(bundle: Bundle, report: Report) -> Path:
    """Write a report, replacing the one before.

    Args:
        bundle: the model.
        report: of one of its sets on one backend.

    Returns:
        $RNNSERVE_CACHE/<bundle sha>/<device>/verify-<set>-<backend>.json.
    """
    folder = cache_folder(bundle.record.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"verify-{report.set}-{report.backend}.json"
    write_durably(path, as_json({"bundle": bundle.id, "bundle_sha256": bundle.record.sha256, **report.record()}))
    return path
