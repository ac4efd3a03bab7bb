"""A task registered outside the source tree is wrapped, verified, inspected, timed and opened like any other."""

import numpy as np
import pytest
import torch

from export.bench.command import bench
from export.build import verify_set
from export.user_module.wrap.command import architecture_with_code
from models.bundle import Bundle
from models.errors import ConfigError
from models.tasks import Task, register, task_names, task_of
from runtime.golden import answer_of_set, check_golden
from runtime.opening import CPU, open_set
from runtime.padding import padded
from tests.toy_task.export import Tagger
from tests.toy_task.record import TAGGING

REFERENCE = "tests.toy_task.export:Tagger"


def test_it_is_opened_and_answers_as_pytorch_does_alone_and_in_a_batch(bundle: Bundle) -> None:
    torch.manual_seed(0)
    module = Tagger().eval()
    opened = open_set(CPU, bundle, "fp32")
    texts = [[1, 2, 3, 4], [5], list(range(20))]
    ids, lengths = padded(texts)
    found = opened.sequences().run("tag", {"ids": ids, "lengths": lengths})["logits"]
    with torch.inference_mode():
        expected = module(torch.from_numpy(ids), torch.from_numpy(lengths).long()).numpy()
    for row, text in enumerate(texts):
        np.testing.assert_allclose(found[row, : len(text)], expected[row, : len(text)], atol=1e-5)
        own_ids, own_lengths = padded([text])
        alone = opened.sequences().run("tag", {"ids": own_ids, "lengths": own_lengths})["logits"]
        assert alone[0, : len(text)].tobytes() == found[row, : len(text)].tobytes()


def test_its_golden_vector_is_checked(bundle: Bundle) -> None:
    opened = open_set(CPU, bundle, "fp32")
    golden = opened.graph_set.manifest.golden
    assert len(golden.logits) == 3 * len(golden.ids)
    check_golden("fp32", golden, answer_of_set(opened, TAGGING, golden.ids, 0))


def test_it_is_verified_with_and_without_its_code(bundle: Bundle) -> None:
    plain = verify_set(bundle, "fp32")
    with_code = verify_set(bundle, "fp32", architecture=architecture_with_code(bundle, REFERENCE))
    assert plain.is_passed
    assert with_code.is_passed
    assert "worst_error" in with_code.figures()


def test_it_is_timed(bundle: Bundle) -> None:
    assert {str(item.case) for item in bench(bundle, rounds=1).measured} == {"tag 1 x 32", "tag 16 x 32"}


def test_names_are_checked() -> None:
    assert task_of("toy-tagging") is TAGGING
    assert set(task_names()) >= {"generation", "translation", "sentiment", "toy-tagging"}
    with pytest.raises(ConfigError, match=r"Unknown task 'summary'\. Registered tasks: generation, translation, sent"):
        task_of("summary")
    with pytest.raises(ConfigError, match=r"'generation' is already registered with other contents"):
        register(Task("generation", (), "batch"))
