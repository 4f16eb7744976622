"""The command line: parse, call one function, print. Bad input is one sentence on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `residuum`; exits with 0, 2 for bad input, 128 + n after signal n."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """The exit code of a command."""
    from cyclopts import CycloptsError

    from residuum.cli.app import app
    from residuum.errors import Elsewhere, UserError, one_line, shown

    try:
        app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except Elsewhere:
        return 2
    except UserError as error:
        return _fail(shown(error), 2)
    except CycloptsError as error:
        return _fail(shown(one_line(error)), 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # the reader of our output left: nothing more to say, and nothing to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # no room, no permission, a name too long: the system says which file and why
        where = f"{shown(error.filename)}: " if error.filename is not None else ""
        return _fail(f"{where}{error.strerror or shown(error)}", 2)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def _fail(message: str, code: int) -> int:
    print(f"residuum: {message}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    return code
