"""Pages from templates: every page extends page.html, which brings the style and works without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from residuum.report import wording


def render(template: str, values: Mapping[str, Any]) -> str:
    """The page of a template of the package; text is escaped, a value that is missing is an error."""
    return _environment().get_template(template).render(values)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("residuum"),
        autoescape=True,
        finalize=wording.printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        area=wording.area,
        extent=wording.extent,
        number=wording.number,
        percent=wording.percent,
    )
    return environment
