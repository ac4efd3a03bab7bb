import json

from training.progress import EpochFigures, Progress


def figures(epoch: int, nats: float) -> EpochFigures:
    return EpochFigures(epoch, {"train_nats_per_token": 1.0}, {"validation_nats_per_token": nats}, 0.1, 1.0)


def test_patience_counts_epochs_since_the_best() -> None:
    progress = Progress()
    assert [progress.finish_epoch(figures(i + 1, nats), (nats,)) for i, nats in enumerate([3.0, 2.0, 2.0])] == [
        True,
        True,
        False,
    ]
    assert not progress.is_over(epochs=9, patience=2)
    assert not progress.finish_epoch(figures(4, 2.5), (2.5,))
    assert progress.is_over(epochs=9, patience=2)
    assert not progress.is_over(epochs=9, patience=None)
    assert progress.is_over(epochs=4, patience=None)
    assert progress.best_epoch == 2


def test_sums_begin_anew_with_each_epoch() -> None:
    progress = Progress()
    progress.add(20.0, 10, 1, 0.5)
    progress.add(30.0, 30, 2, 0.5)
    assert (progress.position, progress.loss_sum / progress.num_targets, progress.seconds) == (3, 1.25, 1.0)
    progress.finish_epoch(figures(1, 1.0), (1.0,))
    assert (progress.epoch, progress.position, progress.loss_sum, progress.num_targets, progress.seconds) == (
        1,
        0,
        0,
        0,
        0,
    )


def test_plain_and_back_is_the_same() -> None:
    progress = Progress()
    progress.finish_epoch(figures(1, 3.0), (-0.5, 3.0))
    progress.add(0.1, 3, 1, 0.2)
    assert Progress.from_plain(json.loads(json.dumps(progress.to_plain()))) == progress
