"""location → sensor → prediction, the forecast over it, and the published predictions below it."""
