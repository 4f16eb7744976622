"""What tests of equations share: a network in which everything matters, and the layers of one block as functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residuum.nets.network import Network, make_network
from residuum.plan import make_plan
from residuum.spec import NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=8, classes=3)


def lively(spec: NetworkSpec) -> Network:
    """A network in eval mode in which every weight and every running statistic matters."""
    generator = torch.Generator().manual_seed(1)
    network = make_network(make_plan(spec), generator=generator).double().eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=generator)
            elif tensor.ndim == 1:
                tensor.normal_(0.5, 0.5, generator=generator)
            elif tensor.ndim > 1 and not tensor.any():
                tensor.normal_(0, 0.1, generator=generator)
    return network


class Equation:
    """conv, norm and so on of one block by their names, as functions."""

    def __init__(self, network: Network, block: str) -> None:
        self.network, self.block = network, block

    def weights(self, name: str) -> dict[str, Tensor]:
        """Parameters and buffers of a module of the block."""
        module = self.network.get_submodule(f"{self.block}.{name}")
        return dict(module.named_parameters()) | dict(module.named_buffers())

    def conv(self, x: Tensor, name: str, stride: int = 1, groups: int = 1, dilation: int = 1) -> Tensor:
        values = self.weights(name)
        pad = dilation * (values["weight"].shape[-1] - 1) // 2
        function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
        return function(x, values["weight"], values.get("bias"), stride, pad, dilation, groups)

    def norm(self, x: Tensor, name: str) -> Tensor:
        norm = self.network.get_submodule(f"{self.block}.{name}")
        assert isinstance(norm, nn.BatchNorm2d)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    def branch(self, x: Tensor, stride: int = 1, name: str = "branch") -> Tensor:
        """bn conv relu bn conv, as in He et al. 2015."""
        u = F.relu(self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.norm1"))
        return self.norm(self.conv(u, f"{name}.conv2"), f"{name}.norm2")

    def module(self, name: str = "") -> nn.Module:
        return self.network.get_submodule(f"{self.block}.{name}".rstrip("."))

    def check(self, x: Tensor, y: Tensor) -> None:
        torch.testing.assert_close(self.module()(x), y, rtol=1e-12, atol=1e-12)


def picture(channels: int = 8, size: int = 8, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
