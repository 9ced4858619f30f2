"""`python -m local up|run|down|status|rollback|backfill|check|query|airflow`."""

from local.command import main

main()
