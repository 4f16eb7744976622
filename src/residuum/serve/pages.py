"""The pages of the service: style shared with the reports, and the list of addresses from the OpenAPI document."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def style() -> bytes:
    """The reports' style sheet and what the page adds to it."""
    package = resources.files("residuum")
    return b"\n".join(
        (package / folder / name).read_bytes()
        for folder, name in (("templates", "report.css"), ("serve/page", "page.css"))
    )


def documentation(openapi: dict[str, Any], address: str) -> bytes:
    """Every address below the server's own with its parameters and answers, for people."""
    environment = Environment(
        loader=PackageLoader("residuum.serve", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    operations = [
        {
            "path": path,
            "method": method.upper(),
            "text": operation.get("description", "").split("\n\n"),
            "parameters": [
                (item["name"], item.get("description", ""), _default(item)) for item in operation.get("parameters", [])
            ],
            "body": sorted(operation.get("requestBody", {}).get("content", {}), reverse=True),
            "errors": [
                (code, each["description"]) for code, each in sorted(operation["responses"].items()) if code >= "400"
            ],
        }
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    return environment.get_template("docs.html").render(operations=operations, address=address).encode()


def _default(parameter: dict[str, Any]) -> str:
    default = parameter.get("schema", {}).get("default")
    return "" if default is None else str(default)
