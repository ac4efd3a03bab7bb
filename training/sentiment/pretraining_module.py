"""Pre-training's windows, network and loss: a language model in both directions over one embedding.

A token may have further fields (models.word_ids): its id is then in mixed radix, and what is predicted is its number in
the vocabulary, the id modulo V.

One layer reads from the left and predicts the next token, the other from the right and predicts the previous one. Their
weights, and the embedding's, are where the classifier starts (Dai & Le 2015, section 3; in both directions as Peters
et al. 2018).

The loss is a sampled softmax in each direction: the right token is compared with K drawn ones instead of with all V
(importance sampling, Bengio & Senecal 2008; one draw for a whole window). From each logit the logarithm of how often
its token is expected among the draws is subtracted (Jean et al. 2015, section 3.1), so the weights learn the
probabilities of the full softmax.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding

from models.config import RecurrentConfig
from models.network.classifier import Classifier
from models.network.recurrent import RecurrentStack
from models.network.tagger import FieldEmbedding, Tagger
from training.buckets import generator_of
from training.generation.windows import IGNORED, Windows
from training.shard import Shard
from training.stage import TrainingModule


class TwoWayWindow(NamedTuple):
    """One batch.

    Attributes:
        position: in the epoch.
        num_targets: that count, of both directions.
        inputs: for each direction int64 [lanes, time].
        targets: for each direction int64 [lanes, time]; generation.windows.IGNORED where a lane has ended.
        negatives: int64 [K].
    """

    position: int
    num_targets: int
    inputs: list[Tensor]
    targets: list[Tensor]
    negatives: Tensor

    def shard(self, shard: Shard) -> Self:
        """See training.stage.Batch: some of the lanes, the same ones in every window."""
        inputs, targets = ([shard.rows(each) for each in both] for both in (self.inputs, self.targets))
        num_targets = sum(int((each != IGNORED).sum()) for each in targets)
        if not num_targets:
            targets = [torch.zeros_like(each) for each in targets]
        return type(self)(self.position, num_targets, inputs, targets, self.negatives)


class TwoWayWindows:
    """See training.stage.Batches. The second direction reads the same text from its end.

    Args:
        ids: int64 [num_tokens].
        directions: 1 or 2.
        from_left: the same tokens as the first direction reads them; None: as they are.
        lanes: parts read in parallel.
        length: the most time steps in a window.
        weights: float64 [V], how likely each token is to be drawn as a negative; they sum to 1.
        negatives: K.
        seed: of the draws.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        *,
        directions: int,
        lanes: int,
        length: int,
        weights: NDArray[np.float64],
        negatives: int,
        seed: int,
        from_left: NDArray[np.int64] | None = None,
    ) -> None:
        texts = (ids if from_left is None else from_left, np.ascontiguousarray(ids[::-1]))[:directions]
        self._windows = [Windows(text, lanes=lanes, length=length) for text in texts]
        self._edges = np.cumsum(weights)
        self._num_negatives = negatives
        self._seed = seed

    def num_batches(self, epoch: int) -> int:
        """Windows in an epoch."""
        return self._windows[0].num_batches(epoch)

    def starting_at(self, epoch: int, position: int) -> Iterator[TwoWayWindow]:
        """An epoch's windows from a position to its end."""
        for number in range(position, self.num_batches(epoch)):
            windows = [each[number] for each in self._windows]
            uniforms = generator_of(self._seed, epoch, number).random(self._num_negatives)
            drawn = np.minimum(np.searchsorted(self._edges, uniforms, side="right"), len(self._edges) - 1)
            yield TwoWayWindow(
                number,
                sum(window.num_targets for window in windows),
                [window.inputs for window in windows],
                [window.targets for window in windows],
                torch.from_numpy(drawn.astype(np.int64)),
            )


class TwoWayLanguageModel(nn.Module):
    """One embedding, a layer for each direction, and a way back from each layer to the embedding's space.

    The embedding is the output layer's weight too (Press & Wolf 2017).

    Args:
        recurrent: the classifier's stack; its kind, sizes and directions count, its depth does not.
        counts: how often each token occurs in the text, [V]; the output's bias begins as their log-frequencies.
        dropout: on embeddings and on what the layers give.
        embedding: of a tagger's tokens; None: a new one of V tokens.
    """

    def __init__(
        self,
        recurrent: RecurrentConfig,
        counts: Sequence[int],
        dropout: float,
        embedding: nn.Embedding | FieldEmbedding | None = None,
    ) -> None:
        super().__init__()
        one_way = recurrent.model_copy(update={"num_layers": 1, "bidirectional": False})
        if embedding is None:
            embedding = nn.Embedding(len(counts), recurrent.input_size)
            nn.init.normal_(embedding.weight, std=recurrent.input_size**-0.5)
        self.embedding = embedding
        width = embedding.weight.shape[1]
        self.layers = nn.ModuleList(RecurrentStack(one_way) for _ in range(recurrent.num_directions))
        self.projections = nn.ModuleList(
            nn.Linear(recurrent.hidden_size, width) for _ in range(recurrent.num_directions)
        )
        smoothed = torch.tensor(counts, dtype=torch.float64) + 1
        self.bias = nn.Parameter((smoothed / smoothed.sum()).log().float())
        self.dropout = nn.Dropout(dropout)

    def zero_state(self, lanes: int) -> Tensor:
        """The state before any token: zeros, [lanes, directions * D]."""
        return torch.cat([layer.zero_state(lanes) for layer in self._stacks()], dim=1)

    def vectors(self, ids: Sequence[Tensor], state: Tensor) -> tuple[list[Tensor], Tensor]:
        """What each direction expects, in the embedding's space.

        Args:
            ids: for each direction int64 [lanes, time], in the order in which it reads.
            state: float32 [lanes, directions * D].

        Returns:
            float32 [lanes, time, width] for each direction, and the new state.
        """
        parts = zip(self._stacks(), self.projections, ids, state.chunk(len(self.layers), dim=1), strict=True)
        found, states = [], []
        for layer, projection, tokens, before in parts:
            outputs, after = layer(self.dropout(self.embedding(tokens)), before)
            found.append(projection(self.dropout(outputs)))
            states.append(after)
        return found, torch.cat(states, dim=1)

    def logits(self, vectors: Tensor) -> Tensor:
        """Of every token, [..., V], for vectors [..., width of the embedding's own vectors]."""
        return vectors @ self.embedding.weight.T + self.bias

    def give_to(self, network: Classifier | Tagger) -> None:
        """Copy the embedding and the layers into a network's embedding and first layer."""
        network.embedding.load_state_dict(self.embedding.state_dict())
        with torch.no_grad():
            target = dict(network.recurrent.layers.named_parameters())
            for layer, suffix in zip(self._stacks(), ("", "_reverse"), strict=False):
                for name, parameter in layer.layers.named_parameters():
                    target[f"{name}{suffix}"].copy_(parameter)

    def _stacks(self) -> list[RecurrentStack]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentStack)]


class PretrainingModule(TrainingModule):
    """See training.stage.TrainingModule; the state is carried from window to window.

    Args:
        model: the network.
        expected: float64 [V], how often each token is expected among a window's negatives.
    """

    model: TwoWayLanguageModel

    def __init__(self, model: TwoWayLanguageModel, expected: NDArray[np.float64]) -> None:
        super().__init__(model)
        self.register_buffer("_log_expected", torch.from_numpy(np.log(expected)).float(), persistent=False)
        self._log_expected: Tensor

    def forward(self, window: TwoWayWindow, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The mean loss of a window's targets, over both directions, in nats of the sampled softmax."""
        if state is None:
            state = self.model.zero_state(len(window.inputs[0]))
        found, state = self.model.vectors(window.inputs, state)
        vectors = torch.cat([each.flatten(0, 1) for each in found])
        targets = torch.cat([each.flatten() for each in window.targets])
        counts = targets != IGNORED
        return self._loss(vectors[counts], targets[counts], window.negatives), state.detach()

    def _loss(self, vectors: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        """Mean over vectors [N, width] and targets [N], each against itself and the negatives [K]."""
        weight = self.model.embedding.weight
        bias = self.model.bias - self._log_expected
        targets = targets % len(bias)
        right = (vectors * embedding(targets, weight)).sum(dim=1) + bias[targets]
        wrong = vectors @ embedding(negatives, weight).T + bias[negatives]
        wrong = wrong.masked_fill(targets.unsqueeze(1) == negatives, float("-inf"))
        logits = torch.cat([right.unsqueeze(1), wrong], dim=1)
        return cross_entropy(logits, targets.new_zeros(len(targets)))
