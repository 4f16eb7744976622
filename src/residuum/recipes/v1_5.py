"""v1-5: how ResNet "v1.5" came to be trained by 2019 - cosine, warm-up, label smoothing - on the paper's optimizer.

Goal       the step between the recipe of 2015 and today's, for the study `replay`
Command    residuum train PATH --model resnet50_v1_5 --recipe v1-5
Hardware   GPUs for photos at 224 pixels; small pictures on a CPU
Result     docs/paper has what was measured here; at full length on ImageNet it was not run with this code
Source     Goyal et al. 2017 (arXiv 1706.02677): warm-up, no decay on norms; He et al. 2018 (arXiv 1812.01187), sections
           2 to 5: cosine, label smoothing 0.1, random area crops. Deviation: no MixUp and no distillation
"""

from residuum.data.augment import Augment
from residuum.training.recipe import SGD, Cosine, Recipe

V1_5 = Recipe(
    name="v1-5",
    epochs=90,
    batch_size=128,
    optimizer=SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=1e-4, decay_norms_and_biases=False),
    schedule=Cosine(warmup=0.05),
    label_smoothing=0.1,
    augment=Augment(crop_padding=4, padding="zero", mirror=True, area=(0.08, 1.0)),
)
