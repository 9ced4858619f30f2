"""What is seen of every request."""
