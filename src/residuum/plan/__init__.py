"""spec -> plan: every layer with every integer settled, as pure arithmetic. No torch.

The module, its cost, the printed table and the weight maps all read this one plan. The classes of the axes (`Branch`,
`Attention`, `Norm`, ...) are here to be subclassed: docs/extending.md.
"""

from residuum.config import Part
from residuum.plan.attentions import Attention
from residuum.plan.branches import Branch, ConvPlan
from residuum.plan.builder import Builder, Place
from residuum.plan.depth import dilated, layers_of_depth, with_depth, with_width
from residuum.plan.lowering import StemPart, check, make_plan, named_parts, problems
from residuum.plan.merges import Merge
from residuum.plan.nodes import (
    Block,
    Cascade,
    Chain,
    Concat,
    Kind,
    Layer,
    Leaf,
    NetworkPlan,
    Node,
    Scale,
    Shrink,
    children,
    flatten,
)
from residuum.plan.norms import Norm
from residuum.plan.reading import read_spec
from residuum.plan.shortcuts import Shortcut
from residuum.plan.transitions import Transition

__all__ = [
    "Attention", "Block", "Branch", "Builder", "Cascade", "Chain", "Concat", "ConvPlan", "Kind", "Layer", "Leaf",
    "Merge", "NetworkPlan", "Node", "Norm", "Part", "Place", "Scale", "Shortcut", "Shrink", "StemPart", "Transition",
    "check", "children", "dilated", "flatten", "layers_of_depth", "make_plan", "named_parts", "problems", "read_spec",
    "with_depth", "with_width",
]  # fmt: skip
