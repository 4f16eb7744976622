"""quickest: to the error of a long training of ResNet-20 in the least time, on a processor.

Goal       the least seconds to a given validation error
Command    residuum train PATH --model resnet11_pool --recipe quickest
Hardware   two CPU cores
Result     docs/performance.md
Source     Muon: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the length of weights held as in their
           airbench94_muon for CIFAR-10, and mirror images in turns as there (Jordan 2024, arXiv 2404.00498, section
           3.6); the numbers are our choice, not theirs
Deviations from `fast`: Muon for the hidden convolutions, label smoothing 0.1, mirror images in turns, and pictures of
           20 and 24 pixels of 32 in the first 70 % of the run
"""

from residuum.data.augment import Augment
from residuum.training.recipe import SGD, Muon, OneCycle, Recipe

QUICKEST = Recipe(
    name="quickest",
    epochs=12,
    min_steps=600,
    batch_size=128,
    smallest_batch=32,
    optimizer=SGD(lr=0.3, momentum=0.9, nesterov=True, weight_decay=5e-4, decay_norms_and_biases=False),
    muon=Muon(lr=0.03, momentum=0.9, iterations=5),
    schedule=OneCycle(warmup=0.2),
    label_smoothing=0.1,
    augment=Augment(crop_padding=2, padding="reflect", mirror="alternating", area=(0.35, 1.0), reduced=True),
    resolution=((0.4, 0.625), (0.7, 0.75)),
)
