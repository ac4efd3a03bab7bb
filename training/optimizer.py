"""AdamW, its learning rate set before every update."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from training.progress import Cycle, Progress
from training.recipe import Recipe, ScheduleSection
from training.stage import Batches

FIRST = 1 / 25  # where one-cycle begins
LAST = 1e-4  # where one-cycle and cosine end


def optimizer_of(
    module: nn.Module, recipe: Recipe, cycles: Sequence[Cycle]
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """The optimizer of a module's parameters, and the schedule of its learning rate over the whole run."""
    settings = recipe.optimizer
    optimizer = torch.optim.AdamW(
        module.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, settings.beta2),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    schedule = recipe.schedule
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor_of(schedule, step, cycles))


def cycles_of(recipe: Recipe, batches: Batches, progress: Progress, num_done: int) -> list[Cycle]:
    """The cycles of a run: those that it has, and one for all that is left if the recipe has other epochs by now.

    Args:
        recipe: what to do.
        batches: of the training part; an epoch's last update may be over fewer batches than the others.
        progress: where the run stands.
        num_done: updates made so far.
    """
    if progress.cycles and progress.cycles[-1].epochs == recipe.epochs:
        return progress.cycles
    each = recipe.trainer.accumulate_grad_batches
    epochs = range(progress.epoch if progress.cycles else 0, recipe.epochs)
    num_batches = [batches.num_batches(epoch) for epoch in epochs]
    if progress.cycles and num_batches:
        num_batches[0] -= progress.position
    num_updates = sum(-(-number // each) for number in num_batches)
    return [*progress.cycles, Cycle(num_done if progress.cycles else 0, num_updates, recipe.epochs)]


def factor_of(section: ScheduleSection, step: int, cycles: Sequence[Cycle]) -> float:
    """The factor on the learning rate for an update, counted from 0 through all cycles.

    A later cycle is laid like the first one over its own updates (a warm restart, Loshchilov & Hutter 2017), but
    constant stays constant: it has no second warm-up.
    """
    cycle = next((item for item in reversed(cycles) if step >= item.first), cycles[0])
    if section.kind == "constant" and cycle.first:
        return 1.0
    return factor(section, step - cycle.first, cycle.num_updates)


def factor(section: ScheduleSection, step: int, total: int) -> float:
    """The factor on the learning rate for an update.

    one-cycle (Smith & Topin 2018) rises from 1/25 over the warm-up and falls to 1/10000, both along a cosine;
    cosine (Loshchilov & Hutter 2017) falls in the same way after a linear warm-up; constant stays after one.

    Args:
        section: kind and share of warm-up.
        step: updates made before this one, 0 .. total.
        total: updates of the whole cycle.

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
