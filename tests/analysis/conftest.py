"""A network that has learned something whose place in a picture is known."""

from __future__ import annotations

import blobs
import pytest

from residuum.inference import Model


@pytest.fixture(scope="session")
def trained() -> Model:
    """Tells red, green and blue spots apart."""
    model = blobs.train()
    pictures, colours, _ = blobs.photos(40, 7)
    said = [answer["predictions"][0]["index"] for answer in model.predict(pictures, top=1)]
    assert said == colours
    return model
