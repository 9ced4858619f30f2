"""Where raw records come from."""
