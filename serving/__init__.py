"""The prediction API: one portable model file in service, and nothing else of nightshift."""
