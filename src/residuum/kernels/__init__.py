"""Training's passes over memory in C, for processors: norms with what follows, convolutions' weights, and chains."""

from residuum.kernels.build import Kernels, kernels
from residuum.kernels.chain import SHORTCUT, Link, chain, chains, links
from residuum.kernels.convolution import convolve, convolves
from residuum.kernels.normalise import normalise, normalises

__all__ = [
    "SHORTCUT",
    "Kernels",
    "Link",
    "chain",
    "chains",
    "convolve",
    "convolves",
    "kernels",
    "links",
    "normalise",
    "normalises",
]
