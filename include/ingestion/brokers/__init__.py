"""Where topics live: a landing folder or bucket, or Kafka, behind one small interface."""
