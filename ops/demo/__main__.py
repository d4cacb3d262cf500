"""`python -m ops.demo`: record the demo for the README."""

import sys

from ops.demo.recording import record

if __name__ == "__main__":
    sys.exit(record())
