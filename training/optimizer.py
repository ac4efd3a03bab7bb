"""AdamW, its learning rate set before every update."""

import math

import torch
from torch import nn

from training.recipe import Recipe, ScheduleSection
from training.stage import Batches

FIRST = 1 / 25  # where one-cycle begins
LAST = 1e-4  # where one-cycle and cosine end


def optimizer_of(
    module: nn.Module, recipe: Recipe, batches: Batches
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """The optimizer of a module's parameters, and the schedule of its learning rate over the whole run."""
    settings = recipe.optimizer
    optimizer = torch.optim.AdamW(
        module.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, settings.beta2),
        weight_decay=settings.weight_decay,
    )
    total = num_updates(recipe, batches)
    schedule = recipe.schedule
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(schedule, step, total))


def num_updates(recipe: Recipe, batches: Batches) -> int:
    """Updates of the whole run: an epoch's last one may be over fewer batches than the others."""
    each = recipe.trainer.accumulate_grad_batches
    return sum(-(-batches.num_batches(epoch) // each) for epoch in range(recipe.epochs))


def factor(section: ScheduleSection, step: int, total: int) -> float:
    """The factor on the learning rate for an update.

    one-cycle (Smith & Topin 2018) rises from 1/25 over the warm-up and falls to 1/10000, both along a cosine;
    cosine (Loshchilov & Hutter 2017) falls in the same way after a linear warm-up; constant stays after one.

    Args:
        section: kind and share of warm-up.
        step: updates made before this one, 0 .. total.
        total: updates of the whole run.

    Returns:
        0 < factor <= 1.
    """
    warmup = section.warmup_share * total
    if step < warmup:
        if section.kind == "one-cycle":
            return _cosine(FIRST, 1.0, step / warmup)
        return (step + 1) / math.ceil(warmup)
    if section.kind == "constant":
        return 1.0
    return _cosine(1.0, LAST, min(1.0, (step - warmup) / max(1.0, total - 1 - warmup)))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
