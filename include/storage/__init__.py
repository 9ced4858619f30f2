"""Where bytes lie, and the lake of partitions on top."""
