"""Training on Fabric is, bit for bit, a loop written by hand."""

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from tests.training.conftest import RecipeMaker
from training.data.corpus import Corpus, Origin
from training.devices import fabric_of, launched
from training.generation.recipe import GenerationRecipe
from training.generation.task import GenerationTask
from training.generation.windows import Windows
from training.optimizer import factor
from training.run_folder import RunFolder
from training.trainer import train

LANES, LENGTH, NUM_WINDOWS, EPOCHS = 4, 16, 6, 2


def test_truncated_backpropagation_equals_a_hand_written_loop(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(epochs=EPOCHS, optimizer={"learning_rate": 0.02, "clip": 0.1, "weight_decay": 0.1})
    assert isinstance(recipe, GenerationRecipe)
    torch.set_num_threads(1)
    ids = np.random.default_rng(0).integers(0, 13, LANES * LENGTH * NUM_WINDOWS + 1)
    config = recipe.model.config(13)
    total = EPOCHS * NUM_WINDOWS

    torch.manual_seed(5)
    model = LanguageModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1, fused=True)
    inputs = torch.from_numpy(ids[:-1]).view(LANES, -1)
    targets = torch.from_numpy(ids[1:]).view(LANES, -1)
    for update in range(total):
        start = update % NUM_WINDOWS * LENGTH
        if start == 0:
            state = torch.zeros(LANES, config.recurrent.state_size)
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * factor(recipe.schedule, update, total)
        logits, state = model(inputs[:, start : start + LENGTH], state.detach())
        loss = cross_entropy(logits.reshape(-1, 13), targets[:, start : start + LENGTH].reshape(-1))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    torch.manual_seed(5)
    windows = Windows(ids, lanes=LANES, length=LENGTH)
    task = GenerationTask(
        recipe,
        Corpus("ids", Origin("ids", "here", "none"), (), (), False, ""),
        Tokenizer.character(["abcdefghijkl"]),  # 13 with <unk>
        batches=windows,
        validation=windows,
        sizes={"validation_tokens": len(ids), "validation_characters": len(ids) - 1},
    )
    fabric = fabric_of(recipe.trainer)
    with RunFolder.opened(recipe.run_path) as folder, launched(fabric) as shard:
        progress = train(task, folder, fabric, shard)
    assert progress.epoch == EPOCHS
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, task.module.model.get_parameter(name)), name
