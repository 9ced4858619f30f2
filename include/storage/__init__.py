"""Folders and buckets, and the lake of partitions on top."""
