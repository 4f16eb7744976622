"""fast: the default - a good network soon, on the machine at hand.

Goal       most of the accuracy of a long training in a few minutes; small sets are gone through more often
Command    residuum train PATH --model resnet20 --recipe fast
Hardware   two CPU cores
Result     docs/results.md: validation error, time and images per second over three seeds
Deviations from the paper: one-cycle schedule, Nesterov momentum, label smoothing, no decay on norms and biases,
           weight decay 5e-4, smaller pictures in the first 80 % of the run, weaker crops, bfloat16 where the
           processor computes in it
"""

from residuum.data.augment import Augment
from residuum.training.recipe import SGD, OneCycle, Recipe

FAST = Recipe(
    name="fast",
    epochs=12,
    min_steps=600,
    batch_size=128,
    smallest_batch=32,
    optimizer=SGD(lr=0.3, momentum=0.9, nesterov=True, weight_decay=5e-4, decay_norms_and_biases=False),
    schedule=OneCycle(warmup=0.2),
    label_smoothing=0.02,
    augment=Augment(crop_padding=2, padding="reflect", mirror=True, area=(0.35, 1.0), reduced=True),
    resolution=((0.5, 0.5), (0.7, 0.625), (0.8, 0.875)),
)
