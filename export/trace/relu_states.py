"""What the ReLU states of a stack reach in PyTorch, layer by layer, for the int8 ranges to be held against."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.network.recurrent import RecurrentStack


def relu_states(stack: RecurrentStack, inputs: Tensor) -> list[NDArray[np.float32]]:
    """Run the layers one after the other.

    Args:
        stack: of kind rnn-relu.
        inputs: float [batch, time, input_size].

    Returns:
        For each layer its positive states, float32 [any].
    """
    config = stack.config
    found: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for index in range(config.num_layers):
            layer = nn.RNN(
                inputs.shape[2],
                config.hidden_size,
                nonlinearity="relu",
                batch_first=True,
                bidirectional=config.bidirectional,
            )
            for name, parameter in layer.named_parameters():
                parameter.copy_(getattr(stack.layers, name.replace("_l0", f"_l{index}")))
            inputs = layer(inputs)[0]
            values = inputs.numpy().ravel()
            found.append(values[values > 0])
    return found
