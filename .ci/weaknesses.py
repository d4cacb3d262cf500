"""Read what `pip-audit --format json` reports: 1 for known weaknesses, and plain words for what was not looked up.

pip-audit passes over a package of which its index knows nothing: a mirror may have the files alone.
"""

import json
import sys


def main() -> int:
    """Print the verdict; return the exit status."""
    try:
        dependencies = json.load(sys.stdin)["dependencies"]
    except ValueError:
        dependencies = []
    looked_up = [each for each in dependencies if "skip_reason" not in each]
    weak = [(each["name"], each["version"], found["id"]) for each in looked_up for found in each["vulns"]]
    for name, version, weakness in weak:
        say(f"{name} {version}: {weakness}")
    if len(looked_up) == len(dependencies) > 0:
        say(f"{len(weak)} known weaknesses in {len(dependencies)} packages")
    else:
        say(
            f"NOT CHECKED: {len(dependencies) - len(looked_up) or 'all'} packages could not be looked up from here"
        )
    return 1 if weak else 0


def say(words: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
