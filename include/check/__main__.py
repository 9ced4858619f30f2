"""`python -m include.check`."""

import sys

from include.check.command import main
from include.errors import StepError

try:
    code = main()
except StepError as error:
    print(f"nightshift: {error}", file=sys.stderr)
    code = error.exit_code
raise SystemExit(int(code))
