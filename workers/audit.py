"""The task that seals the audit log."""

from workers.app import TASK_TIMEOUT_S, periodic, runtime


@periodic("marketflow.seal_audit_log")
def seal_audit_log() -> None:
    """Seal the events and journals that are final."""
    runtime.run(lambda services: services.audit.seal(), timeout_s=TASK_TIMEOUT_S)
