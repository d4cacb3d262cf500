"""How the head of the audit log's chain leaves the database: by the log, and by two metrics."""

import structlog

from domain.audit.model import Seal
from workers.metrics import AUDIT_HEAD, AUDIT_RECORDS, AUDIT_SEAL

_PREFIX_BYTES = 6
"""48 bits of a hash are exact in a floating-point number: the first twelve digits."""

log = structlog.get_logger(__name__)


def publish_head(seal: Seal) -> None:
    """Tell of a seal where the database's administrators cannot take it back."""
    log.info(
        "audit_sealed",
        seal=seal.number,
        log=str(seal.log),
        first_position=seal.first_position,
        last_position=seal.last_position,
        count=seal.count,
        hash=seal.hash.hex(),
    )
    AUDIT_RECORDS.labels(str(seal.log)).inc(seal.count)
    AUDIT_SEAL.set(seal.number)
    AUDIT_HEAD.set(int.from_bytes(seal.hash[:_PREFIX_BYTES]))
