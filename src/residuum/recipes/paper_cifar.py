"""paper-cifar: the CIFAR-10 recipe of He et al. 2015, section 4.2, nothing added.

Goal       the numbers of Table 6
Command    residuum train cifar10:PATH --model resnet20 --recipe paper-cifar
Hardware   the paper: two GPUs; ResNet-20 on a CPU: docs/performance.md
Result     paper, test error: ResNet-20 8.75 %, 56 6.97 %, 110 6.43 % (6.61 +- 0.16 over five runs);
           with this code ResNet-20 was run at full length on JPEG pictures, once, in bfloat16 (docs/performance.md)
Deviations a validation part of 5,000 is held out by default (the paper's 45k/5k split, on which it chose where to
           stop; Table 6 is usually read as training on all 50,000: --val 0)
"""

from residuum.data.augment import Augment
from residuum.training.recipe import SGD, Drops, Recipe, WarmUp

PAPER_CIFAR = Recipe(
    name="paper-cifar",
    steps=64_000,
    batch_size=128,
    optimizer=SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=1e-4, decay_norms_and_biases=True),
    schedule=Drops(at=(0.5, 0.75), factor=0.1, warmup=WarmUp(lr=0.01, until_error=80.0, from_layers=110)),
    augment=Augment(crop_padding=4, padding="zero", mirror=True),
    per_pixel_mean=True,
    precision="float32",
)
