"""`python -m ops.demo`: record the demo for the README."""

import argparse
import sys

from ops.demo.recording import record

if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m ops.demo", description=__doc__).parse_args()
    sys.exit(record())
