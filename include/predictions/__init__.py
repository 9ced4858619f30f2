"""What is published of predictions beside the tables: what serving looks up, and what it was asked."""
