"""`python -m include.local up|run|down|status|rollback|backfill|airflow`."""

from include.local.command import main

main()
