"""A network at other sizes than its own, with the same weights; where asked for, made fully convolutional."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from residuum.nets.network import Network, make_network
from residuum.plan import NetworkPlan, make_plan
from residuum.plan.convolutional import fully_convolutional


class Sized:
    """`at(size)` gives the network for inputs of a size, (N, classes), or (N, classes, *positions) where `dense`.

    Its plan is lowered for that size, so that padding is what it is at that size ("same" depends on it); networks that
    agree in it, mostly all, are one. Weights are shared with the network itself.
    """

    def __init__(self, network: Network, dense: bool) -> None:
        self._network = network
        self._dense = dense
        self._at: dict[tuple[int, ...], nn.Module] = {}
        self._made: dict[object, nn.Module] = {}

    def at(self, size: tuple[int, ...]) -> nn.Module:
        """The network at a size, (height, width); UserError where nothing of that size goes through it."""
        own = self._network.plan
        if not self._dense and size == own.spec.input_size():
            return self._network
        if size not in self._at:
            plan = fully_convolutional(own, size) if self._dense else make_plan(replace(own.spec, size=size))
            key = tuple(layer.padding for layer in plan.layers)
            if key not in self._made:
                self._made[key] = _with_weights_of(self._network, plan)
            self._at[size] = self._made[key]
        return self._at[size]


def _with_weights_of(network: Network, plan: NetworkPlan) -> Network:
    """Another plan of the same layers with the same values: a linear layer's matrix is a convolution's kernel."""
    other = make_network(plan, device="meta")
    shapes = {name: tensor.shape for name, tensor in other.state_dict().items()}
    state = {name: tensor.reshape(shapes[name]) for name, tensor in network.state_dict().items()}
    other.load_state_dict(state, assign=True)
    return other.eval()
