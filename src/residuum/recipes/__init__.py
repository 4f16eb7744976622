"""Named recipes: complete values, one file each, whose header says goal, command, hardware, result and deviations."""

from __future__ import annotations

from residuum.errors import UserError, nearest, shown
from residuum.recipes.debug import DEBUG
from residuum.recipes.fast import FAST
from residuum.recipes.finetune import FINETUNE
from residuum.recipes.paper_cifar import PAPER_CIFAR
from residuum.recipes.paper_imagenet import PAPER_IMAGENET
from residuum.recipes.quickest import QUICKEST
from residuum.recipes.v1_5 import V1_5
from residuum.training.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (FAST, QUICKEST, FINETUNE, PAPER_CIFAR, PAPER_IMAGENET, V1_5, DEBUG)
}


def recipe(name: str) -> Recipe:
    """The recipe of a name, or a UserError with the nearest right one."""
    if name not in RECIPES:
        raise UserError(f'unknown recipe "{shown(name)}"; {nearest(name, RECIPES)}')
    return RECIPES[name]
