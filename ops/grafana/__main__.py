"""`python -m ops.grafana`: write the dashboards that Grafana is provisioned with."""

import json
from pathlib import Path

from ops.grafana.panels import DASHBOARDS, render

DIRECTORY = Path(__file__).parent / "dashboards"


def texts() -> dict[Path, str]:
    """Return each file of the directory and what it holds."""
    return {
        DIRECTORY / f"{dashboard.uid.removeprefix('marketflow-')}.json": json.dumps(
            render(dashboard), indent=2, ensure_ascii=False
        )
        + "\n"
        for dashboard in DASHBOARDS
    }


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
