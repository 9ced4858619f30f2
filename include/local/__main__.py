"""`python -m include.local up|run|down|status|rollback|airflow`."""

from include.local.command import main

main()
