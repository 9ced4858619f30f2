"""What serving looks up of flights: location → sensor → prediction, the forecast over it, and lookups below it."""
