"""`make new`: a use case that works, to begin with."""
