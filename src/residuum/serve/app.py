"""The addresses of the service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from residuum import __version__
from residuum.errors import one_line, shown
from residuum.serve.guard import FAILED, Guard
from residuum.serve.pages import documentation, style
from residuum.serve.refusal import Refused
from residuum.serve.service import Service

ModelName = Annotated[str | None, Query(description="A model by its name; by default the first one.")]
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not what its Content-Type says, or holds no picture."},
    401: {"description": "A token is needed."},
    408: {"description": "The body came too slowly."},
    413: {"description": "Over 10 MB, 25 million pixels, 16 pictures, or 20 to 1."},
    415: {"description": "The body is compressed."},
    422: {"description": "The picture cannot be read, or a parameter is wrong."},
    503: {"description": "Busy: try again after Retry-After."},
}
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "image/*": _PICTURE,
        },
    }
}


def create_app(service: Service, *, token: str | None = None, loopback: bool = True) -> Guard:
    """The ASGI application; `service` must be running when it is asked."""
    app = FastAPI(title="Residuum", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_work(app, service, ERRORS if token else {code: text for code, text in ERRORS.items() if code != 401})
    _add_state(app, service)
    _add_pages(app)
    _add_refusals(app)
    return Guard(
        app,
        token=token,
        loopback=loopback,
        full=lambda: service.full,
        metrics=service.metrics,
        limits=service.limits,
    )


def _add_work(app: FastAPI, service: Service, errors: dict[int | str, dict[str, Any]]) -> None:
    @app.post("/v1/predict", responses=errors, openapi_extra=_BODY, tags=["models"])
    async def predict(
        request: Request,
        model: ModelName = None,
        top: Annotated[int, Query(ge=1, le=100_000, description="Classes to name.")] = 5,
    ) -> list[dict[str, Any]]:
        """Classify pictures: files of a form, or one picture as the body.

        One answer for each picture, as the command residuum predict --json gives them. Of several pictures those that
        cannot be read have "error" in place of "predictions".
        """
        place = service.model(model)
        async with _upload(request, service) as (kind, body):
            return _json(await service.predict(place, top, kind, body))  # type: ignore[return-value]

    @app.post("/v1/explain", responses=errors, openapi_extra=_BODY, tags=["models"])
    async def explain(
        request: Request,
        model: ModelName = None,
        for_class: Annotated[str | None, Query(alias="class", description="By default the most probable one.")] = None,
    ) -> dict[str, Any]:
        """Where the model looked: the Grad-CAM overlay of one picture, and the training pictures nearest to it."""
        place = service.model(model)
        async with _upload(request, service) as (kind, body):
            return _json(await service.explain(place, for_class, kind, body))  # type: ignore[return-value]

    @app.get("/v1/model", tags=["models"])
    async def model(model: ModelName = None) -> dict[str, Any]:
        """What a model is: spec, classes, preprocessing, results with their protocol, hash; and the names of all."""
        found = service.models[service.model(model)]
        return _json({"models": [each["name"] for each in service.models], **found})  # type: ignore[return-value]


@asynccontextmanager
async def _upload(request: Request, service: Service) -> AsyncIterator[tuple[str, bytes]]:
    """The Content-Type and body of a request; the body counts as in memory until the end."""
    body = await service.uploads.read(dict(request.headers), request.receive)  # Starlette's names are lower case
    try:
        yield request.headers.get("content-type", ""), body
    finally:
        service.uploads.release(body)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["state"])
    async def healthz() -> dict[str, str]:
        """The server runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["state"])
    async def readyz() -> dict[str, str]:
        """The models are loaded and answer; 503 where not."""
        if not service.ready:
            raise Refused(503, "the models are not ready", retry=True)
        return {"status": "ready"}

    @app.get("/metrics", tags=["state"])
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pages(app: FastAPI) -> None:
    page = resources.files("residuum.serve") / "page"
    contents = {
        "/": ((page / "index.html").read_bytes(), "text/html; charset=utf-8"),
        "/assets/page.js": ((page / "page.js").read_bytes(), "text/javascript; charset=utf-8"),
        "/assets/icon.svg": ((page / "icon.svg").read_bytes(), "image/svg+xml"),
        "/assets/style.css": (style(), "text/css; charset=utf-8"),
    }
    for path, (content, kind) in contents.items():
        app.get(path, include_in_schema=False)(_static(content, kind))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return Response(documentation(app.openapi(), str(request.base_url)), media_type="text/html")


def _static(content: bytes, kind: str) -> Any:
    async def answer() -> Response:
        return Response(content, headers={"content-type": kind, "cache-control": "no-cache"})

    return answer


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return Response(error.body(), error.status, error.headers(), "application/json")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        sentence = {
            404: "there is nothing at this address; /docs lists what there is",
            405: f"{request.method} is not possible at this address; /docs lists what is",
        }.get(error.status_code, one_line(error.detail))
        return Response(Refused(0, sentence).body(), error.status_code, error.headers, "application/json")

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return Response(FAILED.body(), FAILED.status, media_type="application/json")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        sentence = f"the parameter {shown(first['loc'][-1])} is wrong: {one_line(first['msg'])}"
        return Response(Refused(0, sentence).body(), 422, media_type="application/json")


def _json(value: Any) -> Response:
    """As it is: FastAPI's own way validates and copies every probability."""
    return Response(json.dumps(value, allow_nan=False).encode(), media_type="application/json")
