"""What is served: deploying it, taking it back, and its history."""
