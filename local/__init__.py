"""The embedded stack of one machine: what `make up`, `run`, `down`, `status` and `rollback` do."""
