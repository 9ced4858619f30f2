"""What models answer, one module a task: what serving makes of it, and how two versions are compared."""
