"""`python -m offramp` is the command `offramp`."""

from offramp.cli.commands import main

main()
