"""What is in service, and how a new version gets there."""
