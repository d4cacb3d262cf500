"""The client is a package of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3] / "api" / "client"
TRY = """
import sys
sys.path.insert(0, sys.argv[1])
import marketflow_client
assert marketflow_client.__file__.startswith(sys.argv[1]), marketflow_client.__file__
assert not {"api", "domain", "db", "ops"} & sys.modules.keys(), sorted(sys.modules)
assert marketflow_client.Client("http://localhost").webhook_endpoints
# The example of the specification (github.com/standard-webhooks/standard-webhooks).
assert marketflow_client.verify_webhook(
    b'{"test": 2432232314}',
    {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    now=1614265330,
) == {"test": 2432232314}
"""


def test_client_is_installed_and_used_alone(tmp_path: Path) -> None:
    # A build writes beside its sources.
    copy = shutil.copytree(SOURCE, tmp_path / "client", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-index"]

    run(*pip, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(copy))

    (wheel,) = tmp_path.glob("marketflow_client-*.whl")
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(wheel, unpacked, "zip")
    assert (unpacked / "marketflow_client" / "py.typed").exists()
    run(sys.executable, "-I", "-c", TRY, str(unpacked))


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
