"""Other classifiers than softmax on the same features, compared on the validation part (scikit-learn)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from residuum.progress import Reporter
from residuum.training.finetune_head import Features, scale_of

MOST_FOR_PROCESS = 2_000
"""Training pictures above which a Gaussian process, whose work grows with their cube, is left out."""
FOLDS = 3
"""Of the training part, over which each head's own number is chosen; validation chooses none."""
WORDS = {"n_neighbors": "k"}


def compare_heads(train: Features, val: Features, seed: int, reporter: Reporter) -> list[dict[str, Any]]:
    """One row for each head: {"head", "chosen", "wrong", "images", "error" in percent, "seconds", "note"}.

    Linear SVM, k nearest neighbours, ridge and a Gaussian process, on features centred and scaled as the softmax head
    has them. `wrong` and `error` are None where a head was left out, and `note` says why.
    """
    mean, scale = scale_of(train.values)
    x, held_out = train.scaled(mean, scale).values.numpy(), val.scaled(mean, scale).values.numpy()
    y, truth = train.labels.numpy(), val.labels.numpy()
    found = []
    for name, search in _heads(y, seed).items():
        row: dict[str, Any] = {"head": name, "chosen": "", "wrong": None, "images": len(truth), "error": None}
        row |= {"seconds": None, "note": ""}
        if search is None:
            row["note"] = f"left out: more than {MOST_FOR_PROCESS:,} training pictures"
        else:
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a kernel's bound, or an iteration's end: the error tells
                search.fit(x, y)
            wrong = int((search.predict(held_out) != truth).sum())
            best = getattr(search, "best_params_", {})
            row["chosen"] = ", ".join(f"{WORDS.get(key, key)} {value:g}" for key, value in best.items())
            row |= {"wrong": wrong, "error": 100 * wrong / len(truth), "seconds": round(time.perf_counter() - began, 3)}
            reporter.say(f"{name}: {wrong} of {len(truth)} held-out pictures wrong")
        found.append(row)
    return found


def _heads(y: np.ndarray, seed: int) -> dict[str, Any]:
    """scikit-learn's estimators by what they are called, each with the numbers it may choose among."""
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import LinearSVC

    counts = np.bincount(y)
    fewest = int(counts[counts > 0].min())

    def chosen(estimator: Any, **grid: Sequence[float]) -> Any:
        if fewest < FOLDS:  # a class too small to be cut: the middle value
            return estimator.set_params(**{key: values[len(values) // 2] for key, values in grid.items()})
        cut = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
        return GridSearchCV(estimator, grid, cv=cut)

    neighbours = [k for k in (1, 5, 15) if k <= len(y) * (FOLDS - 1) // FOLDS] or [1]
    process = GaussianProcessClassifier(ConstantKernel(1.0) * RBF(1.0), random_state=seed % 2**32)
    return {
        "linear SVM": chosen(LinearSVC(max_iter=5000, random_state=seed % 2**32), C=[1.0, 10.0, 100.0]),
        "k nearest neighbours": chosen(KNeighborsClassifier(), n_neighbors=neighbours),
        "ridge": chosen(RidgeClassifier(), alpha=[0.01, 0.1, 1.0]),
        "Gaussian process": process if len(y) <= MOST_FOR_PROCESS else None,
    }
