"""From a folder, archive or table of pictures to batches of tensors.

The way of the data: an argument (`sources.open_data`) becomes a `Manifest` of names, labels, classes, parts
and a digest; its `Pictures` give decoded pixels; `batches` turns them into normalised tensors. Only `batches`
and what it uses on tensors (`tensors`) import torch.
"""
