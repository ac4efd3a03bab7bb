"""A language model in both directions over one embedding: what a classifier's first layer is before it sees a label.

One layer reads from the left and guesses the next token, the other from the right and guesses the previous one. Their
weights, and the embedding's, are where the classifier starts (Dai & Le 2015, section 3; in both directions as Peters
et al. 2018).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.config import RecurrentConfig
from models.network.classifier import Classifier
from models.network.recurrent import RecurrentStack


class TwoWayLanguageModel(nn.Module):
    """One embedding, a layer for each direction, and a way back from each layer to the embedding's space.

    The embedding is the output layer's weight too (Press & Wolf 2017).

    Args:
        recurrent: the classifier's stack; its kind, sizes and directions count, its depth does not.
        counts: how often each token stands in the text, [V]; the output's bias begins as their log-frequencies.
        dropout: on embeddings and on what the layers give.
    """

    def __init__(self, recurrent: RecurrentConfig, counts: Sequence[int], dropout: float) -> None:
        super().__init__()
        width = recurrent.input_size
        one_way = recurrent.model_copy(update={"num_layers": 1, "bidirectional": False})
        self.embedding = nn.Embedding(len(counts), width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
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
        """Of every token, [..., V], for vectors [..., width]."""
        return vectors @ self.embedding.weight.T + self.bias

    def give_to(self, classifier: Classifier) -> None:
        """Copy the embedding and the layers into a classifier's embedding and first layer."""
        with torch.no_grad():
            classifier.embedding.weight.copy_(self.embedding.weight)
            target = dict(classifier.recurrent.layers.named_parameters())
            for layer, suffix in zip(self._stacks(), ("", "_reverse"), strict=False):
                for name, parameter in layer.layers.named_parameters():
                    target[f"{name}{suffix}"].copy_(parameter)

    def _stacks(self) -> list[RecurrentStack]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentStack)]
