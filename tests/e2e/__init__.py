"""Tests of the running stack, which stops when the last of them has ended."""
