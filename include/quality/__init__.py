"""What data must look like, and what validation finds."""
