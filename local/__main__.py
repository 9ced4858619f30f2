"""`python -m local up|run|down|status|rollback|backfill|airflow`."""

from local.command import main

main()
