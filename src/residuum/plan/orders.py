"""Where norm and activation sit in a branch: He et al. 2016 "Identity Mappings" (arXiv 1603.05027), Fig. 4."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """What stands before the first convolution of a branch, between two, after the last, and after the sum.

    shared   a projection takes the input after `first` too (2016, section 3)
    """

    first: tuple[str, ...]
    last: tuple[str, ...]
    after: tuple[str, ...]
    shared: bool = False

    @property
    def ends_activated(self) -> bool:
        """Whether what leaves a block has had its norm and activation, so that nothing is owed before the head."""
        return not self.first


ORDERS: dict[str, Order] = {
    "post": Order(first=(), last=("norm",), after=("act",)),
    "pre": Order(first=("norm", "act"), last=(), after=(), shared=True),
    "relu_pre": Order(first=("act",), last=("norm",), after=()),
    "before_add": Order(first=(), last=("norm", "act"), after=()),
    "linear": Order(first=(), last=("norm",), after=()),
}
"""Between two convolutions there are always norm and activation."""
