"""Collectors, topics, workers and their timetable."""
