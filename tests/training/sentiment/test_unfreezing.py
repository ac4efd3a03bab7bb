"""Gradual unfreezing: which weights learn in which epoch, and that a resumed epoch keeps to it."""

from pathlib import Path

import pytest
import torch

from models.config import ClassifierConfig
from models.errors import ConfigError
from models.network.classifier import Classifier
from training.recipe_file import RECIPES, load_recipe
from training.unfreezing import GradualUnfreezing


def learning(model: Classifier) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("kind", ["lstm", "gru", "layer-norm-lstm"])
def test_each_epoch_a_layer_more_learns(kind: str) -> None:
    model = Classifier(
        ClassifierConfig(
            vocab_size=9, embedding_size=4, kind=kind, hidden_size=3, num_layers=2, num_classes=2, pooling="attention"
        )
    )
    names = {name for name, _ in model.named_parameters()}
    head = {"head.weight", "head.bias", "score.weight"}
    unfreezing = GradualUnfreezing(model, 2)
    sets = []
    for epoch in range(5):
        unfreezing.start_epoch(epoch)
        sets.append(learning(model))
    assert sets[0] == head
    upper = sets[1] - sets[0]
    assert upper
    assert all(name.startswith("recurrent.") for name in upper)
    lower = sets[2] - sets[1]
    assert len(lower) == len(upper)
    assert sets[3] - sets[2] == {"embedding.weight"}
    assert sets[3] == sets[4] == names
    unfreezing.start_epoch(0)
    assert learning(model) == head


def test_frozen_weights_stay_and_all_are_published() -> None:
    model = Classifier(
        ClassifierConfig(
            vocab_size=9, embedding_size=4, kind="lstm", hidden_size=3, num_layers=1, num_classes=2, bidirectional=True
        )
    )
    GradualUnfreezing(model, 2).start_epoch(0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    model(torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 2])).sum().backward()
    optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_without_something_to_keep_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gradual_unfreezing keeps what was learnt before; give pretraining or"):
        load_recipe(RECIPES / "comparisons-tiny.yaml", ["gradual_unfreezing=true", f"store={tmp_path}"])
