"""The application on the real server, which waits for a request so short a time that a test can wait longer."""

import api.worker
from api.main import create

__all__ = ["create"]

api.worker._REQUEST_S = 1.0
