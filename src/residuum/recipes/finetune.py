"""finetune: a network trained on something else, fitted to a few hundred or thousand pictures.

Goal       a good network from small data: the classifier first, on features computed once; then the upper stages
Command    residuum train PATH --recipe finetune --weights MODEL
Hardware   a CPU is enough
Result     docs/finetune.md says what is decided how; results depend on how near the weights' own data are
Source     discriminative rates: Howard and Ruder 2018 (arXiv 1801.06146), section 3.2; frozen lower layers: Yosinski et
           al. 2014 (arXiv 1411.1792). The numbers are our choice, not theirs
"""

from residuum.data.augment import Augment
from residuum.training.recipe import SGD, Cosine, FineTune, Recipe

FINETUNE = Recipe(
    name="finetune",
    epochs=20,
    min_steps=600,
    batch_size=64,
    smallest_batch=16,
    optimizer=SGD(lr=0.03, momentum=0.9, nesterov=True, weight_decay=1e-4, decay_norms_and_biases=False),
    schedule=Cosine(warmup=0.1),
    label_smoothing=0.02,
    augment=Augment(crop_padding=2, padding="reflect", mirror=True, area=(0.35, 1.0), reduced=True),
    finetune=FineTune(),
)
