"""The prediction API: one portable model file in service, and nothing else of nightshift."""

import os

# ONNX Runtime 1.29 and later sends what it runs to its maker, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
