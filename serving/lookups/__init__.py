"""What the lake publishes, held in memory and looked up."""
