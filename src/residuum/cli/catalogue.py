"""residuum models, import: the networks there are, and weights trained elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

from residuum.cli.base import Json, Numbers, app, print_json
from residuum.cli.options import Axes, given


@app.command
def models(
    name: str | None = None,
    *,
    batch_size: int = 1,
    json: Json = False,
    axes: Axes | None = None,
) -> None:
    """List the catalogue, or print the plan of one network.

    Args:
        name: A network; its layers are printed with kernel, stride, output size, parameters and multiply-adds.
        batch_size: Pictures for which activation memory is given.
    """
    from residuum import catalog, cost
    from residuum.cli.messages import print_catalogue, print_plan
    from residuum.errors import UserError
    from residuum.plan import make_plan

    if batch_size < 1:
        raise UserError("--batch-size must be at least 1")
    if name is None:
        if given(axes):
            raise UserError("axes change one network: give its name, as in `residuum models resnet50 --shortcut C`")
        rows = [
            {
                "name": e.name,
                "family": e.family,
                "parameters": plan.parameters,
                "macs": plan.macs,
                "source": e.source,
                "reference": e.reference,
            }
            for e in catalog.CATALOG.values()
            if (plan := make_plan(e.spec))
        ]
        print_json(rows) if json else print_catalogue(rows)
        return
    described = cost.describe(make_plan(catalog.spec(name, **given(axes))), name, batch_size)
    print_json(described) if json else print_plan(described)


@app.command(name="import")
def import_(
    weights: Path,
    *,
    model: str,
    out: Path,
    classes_file: Path | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    axes: Axes | None = None,
) -> None:
    """Bring in weights trained elsewhere as a model file; nothing in them is executed.

    Args:
        weights: A state dict (.safetensors, .pth, .pt, .th, .bin), or hub:OWNER/NAME[/FILE] of the Hugging Face Hub.
        model: The network of `residuum models` they belong to.
        out: The model file to write.
        classes_file: Class names, one a line, in the order of the classifier.
        mean: Mean per channel on the 0..1 scale (default: the one that such weights expect).
        std: Standard deviation per channel on the 0..1 scale (default: the one that such weights expect).
    """
    from residuum.errors import shown
    from residuum.importing import import_weights

    notes = import_weights(weights, model, out, axes=given(axes), classes_file=classes_file, mean=mean, std=std)
    for note in notes:
        print(note, file=sys.stderr)
    print(f"wrote {shown(out)}")
