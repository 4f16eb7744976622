"""residuum serve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from residuum.cli.base import Json, app, print_json


@app.command
def serve(
    models: Annotated[list[Path], Parameter(negative="")],
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    data: str | None = None,
    token_file: Path | None = None,
    device: str = "auto",
    backend: str | None = None,
    json: Json = False,
) -> None:
    """Answer over HTTP, with a page to try pictures on; Ctrl-C or SIGTERM ends it when all requests are answered.

    Args:
        models: Model files; requests choose one by ?model=NAME, the first is the default.
        host: The address to listen at; 127.0.0.1 is reached from this machine only.
        port: The port; 0 takes any free one.
        data: Training pictures to show the nearest ones of, as for `train`.
        token_file: A file with the token that requests must bring; else RESIDUUM_TOKEN in the environment.
        device: auto, cpu, cuda, ...
        backend: torch, onnx, openvino, or auto, the fastest that agrees; else torch in float32 (docs/deploy.md).
    """
    from residuum.errors import UserError

    try:
        from residuum.serve.running import read_token
        from residuum.serve.running import serve as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("residuum"):
            raise
        raise UserError('serving needs more libraries: pip install "residuum[serve]"') from None

    token = read_token(token_file)

    def started(address: str, names: list[str]) -> None:
        if json:
            print_json({"address": address, "models": names})
        else:
            print(f"serving {', '.join(names)}\npage     {address}\nstop it  Ctrl-C")
        sys.stdout.flush()
        if token is None and not address.startswith(("http://127.", "http://[::1]")):
            print("no token is set: whoever reaches this address can use the models (--token-file)", file=sys.stderr)

    try:
        run(models, host=host, port=port, data=data, token=token, device=device, backend=backend,
            started=started)  # fmt: skip
    except RuntimeError:
        raise SystemExit(1) from None  # said where it happened
