"""`python -m tidegate`: the command line, where its own command is not on the path."""

from .cli import main

main(prog_name="tidegate")
