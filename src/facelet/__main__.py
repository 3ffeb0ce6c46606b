"""`python -m facelet` is the command line."""

from facelet.cli import main

main()
