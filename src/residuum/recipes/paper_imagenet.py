"""paper-imagenet: the ImageNet recipe of He et al. 2015, section 3.4, nothing added.

Goal       the numbers of Tables 2 to 4
Command    residuum train imagenet:PATH --model resnet50 --recipe paper-imagenet
Hardware   the paper: eight GPUs; not for a CPU
Result     paper, 10-crop top-1 error: ResNet-34 A 25.03 %, 50 22.85 %; not run at full size with this code
Input      shorter side an integer in [256, 480], a 224 crop at any position or its mirror image, the per-pixel mean
           subtracted, AlexNet's colour shift (deviation 0.1)
Deviations the plateau is judged on the validation error with a patience of five epochs (the paper gives no number);
           pictures are resized by an antialiased bilinear filter, and turned as their EXIF data say; the mean is that
           of the evaluation views of 50,000 training pictures, the principal colours those of 10,000
           (docs/decisions/0007)
"""

from residuum.data.augment import Augment
from residuum.training.recipe import SGD, Plateau, Recipe

PAPER_IMAGENET = Recipe(
    name="paper-imagenet",
    steps=600_000,
    batch_size=256,
    optimizer=SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=1e-4, decay_norms_and_biases=True),
    schedule=Plateau(factor=0.1, patience=5),
    augment=Augment(shorter_side=(256, 480), mirror=True, colour=0.1),
    per_pixel_mean=True,
    precision="float32",
)
