"""`python -m ops.grafana`: write the dashboards that Grafana is provisioned with; `pictures` draws what they show.

The pictures are of a stack of their own, with customers, which a Prometheus (Debian's package) scrapes meanwhile.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from ops.grafana.panels import DASHBOARDS, render
from ops.grafana.scraping import scraping
from ops.stack import Stack
from ops.stack.interruption import interrupted_by_signals

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


def write_dashboards() -> None:
    """Write the dashboards as Grafana reads them."""
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")


def draw_pictures(*, for_s: float) -> None:
    """Let customers trade for so long, and draw what each dashboard shows of it."""
    from ops.grafana import pictures, traffic  # noqa: PLC0415 - the plotting library is for developers alone

    with interrupted_by_signals(), tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        directory.chmod(0o755)  # PostgreSQL runs as a user of its own
        with (
            Stack(directory / "var", {"MARKETFLOW_STRIPE_RATE_PER_SECOND": "50"}) as stack,
            scraping(stack.info, directory, every_s=pictures.SCRAPED_EVERY_S) as prometheus,
        ):
            begins_at = time.time()
            traffic.trade(stack.info, for_s=for_s)
            answers = pictures.Answers(prometheus, begins_at, time.time())
            pictures.PICTURES.mkdir(exist_ok=True)
            for dashboard in DASHBOARDS:
                pictures.draw(dashboard, answers, pictures.PICTURES)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m ops.grafana", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("dashboards", "pictures"), default="dashboards")
    parser.add_argument("--seconds", type=float, default=150, help="how long customers trade for the pictures")
    arguments = parser.parse_args()
    if arguments.what == "pictures":
        draw_pictures(for_s=arguments.seconds)
    else:
        write_dashboards()


if __name__ == "__main__":
    main()
