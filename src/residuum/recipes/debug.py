"""debug: a run of seconds that goes through everything once - does it work at all?

Command    residuum train digits --recipe debug --out runs/debug
Hardware   any
Result     none worth quoting: thirty steps
"""

from residuum.training.recipe import SGD, OneCycle, Recipe

DEBUG = Recipe(
    name="debug",
    steps=30,
    batch_size=32,
    optimizer=SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, decay_norms_and_biases=False),
    schedule=OneCycle(warmup=0.2),
)
