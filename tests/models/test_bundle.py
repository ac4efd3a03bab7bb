import json
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, Languages, publish
from models.config import LanguageModelConfig
from models.errors import BundleCorruptError, BundleNotFoundError
from models.store import Store
from models.tokenizer import Tokenizer
from tests.forked import Program
from tests.tiny_models import (
    tiny_bundle,
    tiny_classifier_bundle,
    tiny_model,
    tiny_tagger_bundle,
    tiny_translator_bundle,
)

CORE_FILES = ["bundle.json", "weights.safetensors", "tokenizer.json", "README.md"]


def test_a_bundle_gives_back_what_was_published(tmp_path: Path) -> None:
    bundle = Bundle(tiny_bundle(tmp_path, "lstm").path)
    assert isinstance(bundle.config, LanguageModelConfig)
    model = tiny_model(bundle.config)
    weights = bundle.weights()
    assert all(np.array_equal(weights[name], value.detach().numpy()) for name, value in model.named_parameters())
    assert bundle.id == "lstm/1"
    assert bundle.record.state_width == bundle.config.recurrent.state_size
    assert bundle.tokenizer.vocab_size == bundle.config.vocab_size
    assert bundle.graph_sets == ()


def test_a_translator_keeps_its_languages_and_widths(tmp_path: Path) -> None:
    record = Bundle(tiny_translator_bundle(tmp_path, "gru", input_feeding=True).path).record
    assert record.task == "translation"
    assert record.languages == Languages(source="en", target="zh")
    assert (record.memory_width, record.keys_width, record.state_width) == (40, 40, 2 * 40 + 24)
    assert [entry.name for entry in record.row] == ["h0", "h1", "feed"]


def test_a_classifier_keeps_its_labels_and_has_no_state(tmp_path: Path) -> None:
    record = Bundle(tiny_classifier_bundle(tmp_path, "lstm").path).record
    assert (record.task, record.labels, record.state_width) == ("sentiment", ["negative", "positive"], 0)


def test_a_tagger_has_a_crf_where_its_architecture_says_so(tmp_path: Path) -> None:
    assert tiny_tagger_bundle(tmp_path, "gru").crf is None
    bundle = tiny_tagger_bundle(tmp_path, "gru", "crf", crf=True)
    assert bundle.weights()["transitions"].shape == (4, 4)
    assert bundle.crf is not None
    assert bundle.words is not None
    weights = {name: array for name, array in bundle.weights().items() if name != "transitions"}
    tokenizer = bundle.tokenizer
    broken = publish(
        Store(tmp_path),
        "broken",
        config=bundle.config,
        weights=dict(weights),
        tokenizer=tokenizer,
        card="",
        metrics={},
        provenance={},
        labels=bundle.record.labels,
        words=bundle.words,
    )
    with pytest.raises(BundleCorruptError, match="has no transitions of 4 x 4"):
        _ = broken.crf


@pytest.mark.parametrize("labels", [None, ["negative"], ["negative", "negative"], ["negative", ""]])
def test_a_classifier_without_a_label_for_each_class_is_not_published(tmp_path: Path, labels: list[str] | None) -> None:
    bundle = tiny_classifier_bundle(tmp_path, "gru")
    with pytest.raises(ValueError, match="label"):
        publish(
            Store(tmp_path),
            "other",
            config=bundle.config,
            weights=dict(bundle.weights()),
            tokenizer=Tokenizer.from_json((bundle.path / "tokenizer.json").read_text()),
            card="",
            metrics={},
            provenance={},
            labels=labels,
        )
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("file", CORE_FILES)
@pytest.mark.parametrize("place", [0.3, 0.9])
def test_a_flipped_byte_is_found_and_its_file_named(tmp_path: Path, file: str, place: float) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    path = bundle.path / file
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleCorruptError, match=file):
        Bundle(bundle.path)


@pytest.mark.parametrize("file", CORE_FILES)
def test_a_missing_or_truncated_file_is_named(tmp_path: Path, file: str) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    path = bundle.path / file
    path.write_bytes(path.read_bytes()[:-1][: 10 if file == "bundle.json" else None])
    with pytest.raises(BundleCorruptError, match=file):
        Bundle(bundle.path)
    path.unlink()
    with pytest.raises(BundleCorruptError, match=file):
        Bundle(bundle.path)


def test_a_core_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    path = bundle.path / "README.md"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleCorruptError, match="not a plain file"):
        Bundle(bundle.path)


def test_a_core_file_that_changes_after_the_bundle_was_opened_is_not_used(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    for file, use in (("tokenizer.json", lambda: bundle.tokenizer), ("weights.safetensors", bundle.weights)):
        (bundle.path / file).write_bytes((bundle.path / file).read_bytes() + b" ")
        with pytest.raises(BundleCorruptError, match=f"{file} was changed"):
            use()


def test_a_graph_set_that_is_not_there_is_named_with_the_command_that_builds_it(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    with pytest.raises(BundleNotFoundError, match=r"no graph set int8. Sets: none. Build it: python -m export build"):
        bundle.graph_set("int8")


def test_two_bundles_of_the_same_weights_have_different_identities(tmp_path: Path) -> None:
    first, second = tiny_bundle(tmp_path, "gru"), tiny_bundle(tmp_path, "gru")
    assert (first.id, second.id) == ("gru/1", "gru/2")
    assert first.record.sha256 != second.record.sha256


@pytest.mark.parametrize("moment", ["write_durably", "sync_tree"])
def test_a_publisher_killed_at_any_file_leaves_nothing_that_loads(
    program: Program, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, moment: str
) -> None:
    """SIGKILL at the first, second ... durable write; whatever is left, the store shows only whole versions."""
    tiny_bundle(tmp_path, "gru")
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        import models.bundle, models.store
        home = models.bundle if "{moment}" == "write_durably" else models.store
        original, left = home.{moment}, int(sys.argv[2])
        def dying(*arguments):
            global left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return original(*arguments)
        home.{moment} = dying
        from tests.tiny_models import tiny_bundle
        tiny_bundle(Path(sys.argv[1]), "gru")
        """
    )
    scripts = tmp_path_factory.mktemp("scripts")
    (scripts / "killed_publisher.py").write_text(script)
    for survived in range(4 if moment == "write_durably" else 1):
        killed = program("killed_publisher", str(tmp_path), str(survived), folder=scripts)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert Store(tmp_path).versions("gru") == [1]
    assert tiny_bundle(tmp_path, "gru").id == "gru/2"
    leftovers = list((tmp_path / "gru").glob(".building*"))
    assert leftovers == []  # the next publisher clears away what the killed one left


def test_the_record_is_plain_json_that_a_person_can_read(tmp_path: Path) -> None:
    record = json.loads((tiny_bundle(tmp_path, "lstm").path / "bundle.json").read_text())
    assert record["task"] == "generation"
    assert [entry["name"] for entry in record["row"]] == ["h0", "h1", "c0", "c1"]


@pytest.mark.parametrize("content", [None, b"[" * 100_000, b"\xff"])
def test_a_record_that_is_no_record_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tiny_bundle(tmp_path, "gru").path / "bundle.json"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"bundle\.json"):
        Bundle(path.parent)


def test_a_bundle_that_cannot_be_completed_is_not_published(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, "gru")

    def refuse(other: Bundle) -> None:
        assert other.record.version == 2
        raise BundleCorruptError("no graphs")

    facts = {"config": bundle.config, "weights": dict(bundle.weights()), "tokenizer": bundle.tokenizer}
    with pytest.raises(BundleCorruptError, match="no graphs"):
        publish(Store(tmp_path), "gru", **facts, card="", metrics={}, provenance={}, complete=refuse)  # type: ignore[arg-type]
    assert Store(tmp_path).versions("gru") == [1]
