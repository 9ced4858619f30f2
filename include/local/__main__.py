"""`python -m include.local up|run|down|status|rollback`."""

from include.local.command import main

main()
