class OperatorError(Exception):
    """What the person at the terminal can answer: the command line shows the message and no traceback."""
