"""Quantization-aware distillation: the int8 network learns what the float network says; no labels.

The forward pass rounds weights, biases and tensors as `quantize.build` does, in float32 arithmetic that holds every
integer, so it is the int8 network to the bit. Rounding passes gradients straight through; what is clipped passes none.
Slopes and fractions stay as calibration found them.

Source: Bengio, Leonard, Courville, "Estimating or propagating gradients through stochastic neurons", 2013 (the
straight-through estimator); Jacob et al., CVPR 2018 (training with simulated quantization).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelet.data.transfer import TransferSet
from facelet.graph.int8 import HIGHEST, LOWEST, tensor_fractions
from facelet.graph.ir import Array, Graph, Node
from facelet.model import Card
from facelet.quantize.build import build, integer
from facelet.quantize.calibrate import Calibration
from facelet.quantize.roles import roots
from facelet.train.graph_net import FORWARD, run_table
from facelet.train.loop import Tick
from facelet.train.recover import teach


class _Round(torch.autograd.Function):
    """The nearest integer; its gradient is that of the number itself."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        """Rounds half to even."""
        return x.round()

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        """Passes the gradient on."""
        return gradients[0]


def fake(x: Tensor, fraction: Tensor, low: int, high: int) -> Tensor:
    """Numbers as integers of a fraction would have them."""
    scale = torch.exp2(fraction)
    rounded: Tensor = _Round.apply(x * scale)  # type: ignore[no-untyped-call]
    return rounded.clamp(low, high) / scale


class Int8Net(nn.Module):
    """A calibrated network that can be trained.

    Args:
        calibration: where training starts.
    """

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.calibration = calibration
        self.weights = nn.ParameterDict()
        self._keys: dict[str, str] = {}
        self._made: dict[str, Node] = {}
        quantized = calibration.quantized
        self._roots = roots(calibration.prepared)
        for position, node in enumerate(calibration.prepared.nodes):
            if node.op != "FusedConv":
                continue
            made = quantized.producer(integer(node.output))
            assert made is not None  # every convolution was built
            key = self._keys[node.output] = f"n{position}"
            self._made[node.output] = made
            weight = calibration.prepared.constants[node.inputs[1]]
            own = quantized.constants[made.inputs[3]]
            bias = np.ldexp(quantized.constants[made.inputs[2]], -own.astype(np.int64) - made["x_fraction"])
            self.weights[f"{key}_weight"] = nn.Parameter(torch.tensor(weight))
            self.weights[f"{key}_bias"] = nn.Parameter(torch.tensor(bias, dtype=torch.float32))
            self.register_buffer(f"{key}_own", torch.tensor(own))
            if made["slopes"]:
                slopes = np.ldexp(quantized.constants[made.inputs[4]], -quantized.constants[made.inputs[5]].astype(int))
                self.register_buffer(f"{key}_slopes", torch.tensor(slopes, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """The embedding, `(n, ...)`, of images `(n, c, h, w)`."""
        graph, fractions = self.calibration.prepared, self.calibration.fractions
        name = graph.inputs[0]
        values = {name: fake(x, torch.tensor(float(fractions[name])), LOWEST, HIGHEST)}
        for node in graph.nodes:
            if node.op == "FusedConv":
                values[node.output] = self._conv(node, [values[name] for name in node.inputs if name in values])
                continue
            found = FORWARD[node.op](node, [values[n] if n in values else self._constant(n) for n in node.inputs])
            made = self.calibration.quantized.producer(integer(node.output))
            if made is not None and made.op == "Int8Mul":
                found = fake(found, torch.tensor(float(made["fraction"])), LOWEST, HIGHEST)
            elif made is not None and made.op == "Int8Table":
                exact = self._looked_up(made, values[self._roots[node.output]])
                found = found + (exact - found).detach()
            values[node.output] = found
        return values[graph.outputs[0]]

    def _constant(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self.calibration.prepared.constants[name]))

    def _looked_up(self, made: Node, x: Tensor) -> Tensor:
        """The numbers that a table has for those of its root: what the int8 network gives, to the bit."""
        table = torch.from_numpy(np.array(self.calibration.quantized.constants[made.inputs[1]]))
        fraction = tensor_fractions(self.calibration.quantized)[made.inputs[0]]
        numbers: Tensor = run_table(x * 2.0**fraction, table) * 2.0 ** -made["fraction"]
        return numbers

    def _conv(self, node: Node, inputs: list[Tensor]) -> Tensor:
        key, fractions = self._keys[node.output], self.calibration.fractions
        own = getattr(self, f"{key}_own")
        weight = fake(self.weights[f"{key}_weight"], own.reshape(-1, 1, 1, 1), -HIGHEST, HIGHEST)
        bias = fake(self.weights[f"{key}_bias"], own + fractions[node.inputs[0]], -(2**23), 2**23)
        plain = {**node.attributes, "activation": "", "residual": False}
        out = FORWARD["FusedConv"](replace(node, attributes=plain), [inputs[0], weight, bias])
        if node["residual"]:
            out = out + inputs[1]
        if node["activation"] == "PRelu":
            out = torch.where(out < 0, out * getattr(self, f"{key}_slopes").reshape(1, -1, 1, 1), out)
        made = self._made[node.output]
        return fake(out, torch.tensor(float(fractions[node.output])), made["low"], made["high"])

    def trained(self) -> Graph:
        """The int8 network with the weights as they are now.

        Raises:
            GraphError: sums have grown until float32 no longer holds them.
        """
        prepared, quantized = self.calibration.prepared, self.calibration.quantized
        constants: dict[str, Array] = {}
        own: dict[str, Array] = {}
        for node in prepared.nodes:
            if node.op != "FusedConv":
                continue
            key = self._keys[node.output]
            for place, part in ((1, "weight"), (2, "bias")):
                constants[node.inputs[place]] = self.weights[f"{key}_{part}"].detach().numpy().copy()
            if node["activation"] == "PRelu":
                constants[node.inputs[3]] = getattr(self, f"{key}_slopes").numpy().copy()
            own[node.output] = quantized.constants[self._made[node.output].inputs[3]]
        return build(prepared.with_nodes(prepared.nodes, constants=constants), self.calibration.fractions, own)


def distil_int8(
    calibration: Calibration,
    original: Graph,
    card: Card,
    transfer: TransferSet,
    folder: Path,
    *,
    minutes: float,
    threads: int,
    rows: NDArray[np.int64] | None = None,
    seed: int = 0,
    learning_rate: float = 1e-4,
    on_tick: Callable[[Tick], None] | None = None,
) -> Graph:
    """Trains a calibrated network towards the float network's answers and returns the int8 network.

    Args:
        original: the float network.
        card: of both.
        folder: for the log and the checkpoint.
        minutes: of training.
        rows: crops to train on, `(m,)`; all without.

    Raises:
        InputError: see `recover.teach`.
        GraphError: sums have grown until float32 no longer holds them.
    """
    net = Int8Net(calibration)
    teach(
        net,
        original,
        card,
        transfer,
        folder,
        minutes=minutes,
        rows=rows,
        threads=threads,
        seed=seed,
        learning_rate=learning_rate,
        on_tick=on_tick,
    )
    return net.trained()
