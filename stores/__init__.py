"""Where files are kept: folders and buckets behind one small interface, for the pipeline and the server alike."""
