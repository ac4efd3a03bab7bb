"""Torch lives in three places only; import-linter (make check) holds the directions between packages."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("models", "training", "export", "runtime", "server")
WITH_TORCH = ("models/network", "training", "export/trace", "export/user_module")


def imported(path: Path) -> Iterator[str]:
    """Top-level packages that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def source_files() -> list[Path]:
    return [path for source in SOURCES for path in sorted((ROOT / source).rglob("*.py"))]


def test_torch_is_imported_only_where_networks_are_made_trained_and_traced() -> None:
    offenders = [
        str(path.relative_to(ROOT))
        for path in source_files()
        if {"torch", "lightning"} & set(imported(path)) and not str(path.relative_to(ROOT)).startswith(WITH_TORCH)
    ]
    assert offenders == []


def test_package_files_hold_a_docstring_and_no_imports() -> None:
    """Those of the top also keep the runtime from sending anything (tests/test_offline.py)."""
    for path in source_files():
        if path.name == "__init__.py":
            docstring, *others = ast.parse(path.read_text(encoding="utf-8")).body
            assert isinstance(docstring, ast.Expr), path
            allowed = {"models"} if path.parent.parent == ROOT else set()
            assert set(imported(path)) == allowed, f"{path}: more than a docstring"
            assert len(others) == 2 * len(allowed), f"{path}: more than a docstring"


def test_nothing_but_evaluation_tests_and_benchmarks_imports_the_server() -> None:
    for path in source_files():
        parts = path.relative_to(ROOT).parts
        if parts[0] != "server" and parts[:2] != ("training", "evaluate"):
            assert "server" not in set(imported(path)), path
