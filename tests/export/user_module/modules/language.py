"""Language models: ids with time first, tied weights, state in and out; hidden states made of a weight."""

from typing import Any

from torch import Tensor, nn


class SequenceFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(30, 12)
        self.rnn = nn.GRU(12, 12, num_layers=2, dropout=0.2)
        self.decoder = nn.Linear(12, 30, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, ids: Tensor, state: Tensor) -> dict[str, Tensor]:
        outputs, state = self.rnn(self.encoder(ids), state)
        return {"logits": self.decoder(outputs), "state": state}


class OwnHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.lstm = nn.LSTM(8, 6, num_layers=2, batch_first=True)

    def init_hidden(self, batch: int) -> tuple[Tensor, Tensor]:
        weight = next(self.parameters()).data
        shape = (self.lstm.num_layers, batch, self.lstm.hidden_size)
        return weight.new_zeros(shape), weight.new_ones(shape)

    def forward(self, ids: Tensor) -> dict[str, Any]:
        outputs, state = self.lstm(self.embedding(ids), self.init_hidden(ids.size(0)))
        flat = outputs.contiguous().view(-1, self.lstm.hidden_size)
        return {"outputs": flat.view(ids.size(0), -1, self.lstm.hidden_size), "state": state, "unused": None}
