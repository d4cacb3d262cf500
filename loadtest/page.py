"""`loadtest/report/index.html`: the figures of a run and how they came about, in one page that loads nothing."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from loadtest import plots
from loadtest.figures import Figure, Findings
from loadtest.watch import Sample

INDEX = Path(__file__).parent / "report" / "index.html"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100%; font-size: 14px } td, th { padding: .25em .6em; text-align: left }
tr { border-bottom: 1px solid #ddd } td.n { text-align: right; white-space: nowrap } svg { width: 100% }
svg text { font: 11px system-ui, sans-serif; fill: #444 } .grid { stroke: #ddd } h2 { margin-top: 2em }
.goal { color: #0a6b2d } .must { color: #805500 } .missed { color: #b00020; font-weight: 600 }
"""


def write(
    findings: Mapping[str, Findings], samples: Sequence[Sample], machine: Mapping[str, object], path: Path = INDEX
) -> Path:
    """Write the page and, beside it, the results as JSON; return where the page is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        "<h1>MarketFlow, measured</h1>",
        f"<p>{escape(', '.join(f'{name} {value}' for name, value in _words(machine)))}</p>",
        "<p>Ratios are what counts: each limit and each peer was timed in the same run, on the same cores.</p>",
        _figures([figure for found in findings.values() for figure in found.figures]),
        *_accepting(findings),
        *_latencies(findings),
        *_watched(samples),
        *_weights(findings),
    ]
    path.write_text(_page("".join(parts)), encoding="utf-8")
    plain = {
        "machine": machine,
        "raw": {name: found.raw for name, found in findings.items()},
        "samples": [sample.plain() for sample in samples],
    }
    path.with_name("results.json").write_text(json.dumps(plain, indent=1, default=str) + "\n", encoding="utf-8")
    return path


def _page(body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>MarketFlow, measured</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def _words(machine: Mapping[str, object]) -> Sequence[tuple[str, object]]:
    return [(name, value) for name, value in machine.items() if not isinstance(value, Mapping)]


def _figures(figures: Sequence[Figure]) -> str:
    rows = []
    for figure in figures:
        sign = "≤" if figure.lower_is_better else "≥"
        bars = [f"{sign} {bar:g}" if bar is not None else "" for bar in (figure.must, figure.goal)]
        value = f"{figure.value:,.2f} {figure.unit}"
        cells = [f'<td class="n">{escape(text)}</td>' for text in (value, *bars)]
        rows.append(
            f'<tr class="{figure.verdict}"><td>{escape(figure.name)}</td>{"".join(cells)}'
            f"<td>{escape(figure.detail)}</td></tr>"
        )
    heads = "".join(f"<th>{head}</th>" for head in ("figure", "measured", "must", "goal", "made from"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _accepting(findings: Mapping[str, Findings]) -> Sequence[str]:
    """Plot throughput and latencies of accepting, second by second, round after round."""
    rounds: Any = findings["accept"].raw["rounds"] if "accept" in findings else ()
    if not any(each["timeline"] for each in rounds):
        return ()
    rates, p50s, p99s = [], [], []
    second = 0
    for each in rounds:
        for count, p50_ms, p99_ms in each["timeline"]:
            rates.append((second, count))
            p50s.append((second, p50_ms))
            p99s.append((second, p99_ms))
            second += 1
    return (
        "<h2>Accepting, second by second</h2>",
        plots.lines({"accepted": rates}, across="seconds, round after round", up="payments a second"),
        plots.lines({"p50": p50s, "p99": p99s}, across="seconds, round after round", up="latency, ms"),
    )


def _latencies(findings: Mapping[str, Findings]) -> Sequence[str]:
    if "latency" not in findings:
        return ()
    trials: Any = findings["latency"].raw["trials"]
    values = {
        f"{each['rate']:,.0f}/s, {name}": each[f"settle_{name}_ms"] for each in trials for name in ("p50", "p99")
    }
    return ("<h2>From accepted to settled</h2>", plots.bars(values, unit="ms"))


def _watched(samples: Sequence[Sample]) -> Sequence[str]:
    """Plot who kept the cores busy and what weighed how much, over the whole run."""
    if not samples:
        return ()
    programs = list(dict.fromkeys(program for sample in samples for program in sample.cores))
    cores = {
        program: [(sample.at_s, sample.cores.get(program, 0.0)) for sample in samples] for program in programs
    }
    weighed = [sample for sample in samples if sample.pss_mib]
    memory = {
        program: [(sample.at_s, sample.pss_mib.get(program, 0.0)) for sample in weighed] for program in programs
    }
    spans = [(samples[0].at_s, samples[0].stage)]
    spans += [(now.at_s, now.stage) for last, now in pairwise(samples) if now.stage != last.stage]
    stages = ", ".join(f"{stage or 'start'} from {at_s:.0f} s" for at_s, stage in spans)
    return (
        f"<h2>Who keeps the cores busy</h2><p>{escape(stages)}</p>",
        plots.areas(cores, across="seconds of the run", up="cores"),
        "<h2>Memory</h2>",
        plots.areas(memory, across="seconds of the run", up="PSS, MiB"),
    )


def _weights(findings: Mapping[str, Findings]) -> Sequence[str]:
    if "memory" not in findings:
        return ()
    weights: Any = findings["memory"].raw["processes_mib"]
    values = {
        f"{program} {number}": mib
        for program, processes in weights.items()
        for number, mib in enumerate(processes.values(), start=1)
        if program != "postgres"
    }
    values["postgres, all"] = sum(weights["postgres"].values())
    return ("<h2>What each process weighs (PSS)</h2>", plots.bars(values, unit="MiB"))
