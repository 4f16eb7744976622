"""What a report says of fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from residuum.report.wording import number


def finetune_record(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of (what, how) from what run.json holds of fine-tuning; none where a run had none."""
    if not found:
        return []
    if found.get("weights") is None:
        return [("began", "from nothing, with random weights; all layers learned alike"), *_kept(found)]
    head = found.get("head") or {}
    classes = ", ".join(found.get("kept_classes") or []) or "none: a new classifier"
    rates = ", ".join(f"{part} x {rate:.3g}" for part, rate in (found.get("rates") or {}).items())
    rows = [
        ("weights", f"{found['weights']} ({found.get('model')})"),
        ("classes kept from them", classes),
        ("learning rates", f"{rates}; the rest is frozen"),
        ("batch norm", str(found.get("batch_norm"))),
    ]
    if head:
        per_epoch = 1000 * head["seconds"] / head["epochs"]
        rows.append(("features", f"computed once, in {number(head['feature_seconds'])} s"))
        rows.append(("classifier alone", f"{head['epochs']} epochs on the features, {per_epoch:.1f} ms each"))
    if head.get("val_wrong") is not None:
        rows.append(("wrong then", f"{head['val_wrong']} held-out pictures, loss {number(head['val_loss'])}"))
    return rows + _kept(found)


def _kept(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    kept = found.get("kept")
    if not kept:
        return []
    which = f"epoch {kept['epoch']} of {kept['of']}" if kept["epoch"] else "the classifier alone, before epoch 1"
    return [("weights kept", f"{which}, by validation loss{'; stopped early' if kept['stopped_early'] else ''}")]
