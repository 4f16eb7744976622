"""`python -m residuum` is `residuum`."""

from residuum.cli import main

main()
