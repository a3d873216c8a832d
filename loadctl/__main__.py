"""`python -m loadctl` is the command `loadctl`."""

from loadctl.cli.main import main

main()
