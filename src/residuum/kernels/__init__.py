"""Training's passes over memory in C, for processors: batch norm with what follows it, and a convolution's weights."""

from residuum.kernels.build import Kernels, kernels
from residuum.kernels.convolution import convolve, convolves
from residuum.kernels.normalise import normalise, normalises

__all__ = ["Kernels", "convolve", "convolves", "kernels", "normalise", "normalises"]
