"""What the command line is given, refused before anything is loaded."""

from pathlib import Path
from typing import Any

import pytest

from export.user_module.wrap.options import WrapOptions
from models.errors import BundleError, ConfigError

PLAIN: dict[str, Any] = {
    "reference": "my_file:MyLM",
    "task": "generation",
    "tokenizer": Path("tokenizer.json"),
    "to": Path("store/name"),
}
TRANSLATION = {"task": "translation", "source": "en", "target": "zh"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "summary"}, r"--task 'summary' is not a task\. Tasks: generation, translation, sentiment"),
        ({"task": "sentiment"}, "--labels is missing"),
        ({"task": "sentiment", "labels": ("a", "a")}, "names a class twice"),
        ({"task": "sentiment", "labels": ("a", "b"), "end_token": "</s>"}, "--end-token goes with generation"),
        ({"labels": ("a", "b")}, "--labels goes with --task sentiment.*, not generation"),
        ({"source": "en"}, "--source goes with --task translation"),
        ({"start_token": "<s>"}, "--start-token goes with --task translation"),
        (TRANSLATION | {"target": "Chinese"}, "--target Chinese is not a language as two letters"),
        ({"task": "translation", "source": "en"}, "--target is missing: name the language"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_flag(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        WrapOptions(**(PLAIN | change))


def test_a_name_that_a_store_does_not_take_is_refused() -> None:
    with pytest.raises(BundleError, match="'My Model' is not allowed"):
        WrapOptions(**(PLAIN | {"to": Path("store/My Model")}))


def test_a_translator_has_its_languages() -> None:
    languages = WrapOptions(**(PLAIN | TRANSLATION)).languages
    assert languages is not None
    assert (languages.source, languages.target) == ("en", "zh")


def test_a_place_inside_a_published_bundle_is_refused(tmp_path: Path) -> None:
    version = tmp_path / "store" / "name" / "1"
    version.mkdir(parents=True)
    (version / "bundle.json").touch()
    for to in (version, version.parent / "2", version / "inner", version.parent / "other"):
        with pytest.raises(ConfigError, match=r"lies inside the published bundle .*name/1"):
            WrapOptions(**(PLAIN | {"to": to}))
    assert WrapOptions(**(PLAIN | {"to": version.parent})).to.name == "name"
