"""What other libraries call the layers of a plan, family by family, and what their published weights expect."""

from residuum.nets.naming import resnet, timm, torchvision
from residuum.nets.naming.paths import IMAGENET_MEAN, Scheme, classifier

SCHEMES = (
    Scheme("residuum", lambda plan: {layer.name: layer.name for layer in plan.layers}),
    *resnet.SCHEMES,
    *torchvision.SCHEMES,
    *timm.SCHEMES,
)

__all__ = ["IMAGENET_MEAN", "SCHEMES", "Scheme", "classifier"]
