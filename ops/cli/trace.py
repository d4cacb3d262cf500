import json
from typing import Annotated

import typer
from rich.text import Text

from domain.money import major
from domain.traces.model import Node, Trace
from ops.cli.console import output, visible
from ops.cli.environment import running_settings
from ops.sessions import with_database

_SHOWN_FIRST = ("type", "kind", "account", "status")
_AMOUNTS = {
    "amount_minor": "",
    "debit_minor": "debit",
    "credit_minor": "credit",
    "captured_minor": "captured",
    "refunded_minor": "refunded",
    "withdrawn_minor": "withdrawn",
    "fee_minor": "fee",
}
_UNDER_WRAPS = {"currency", "data", "position", "payer_id", "buyer_id", "seller_id", "requested_by", "source"}
"""What a line has no room for; `--json` shows it."""


def trace(
    sought: Annotated[str, typer.Argument(metavar="ID", help="Of a payment, an order, a charge at Stripe, …")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, with every fact.")] = False,
) -> None:
    """Explain a cent: everything that hangs together with an id of ours or Stripe's."""
    from domain.traces.service import TraceService  # noqa: PLC0415 - `--help` needs it not

    found = with_database(
        running_settings("database_url"), lambda database: TraceService(database.begin).explain(sought)
    )
    if as_json:
        output.print_json(json.dumps(_plain(found)))
        return
    for node in found.nodes:
        output.print(line(node, found.sought), soft_wrap=True)
    if found.is_cut:
        output.print("… and more than one trace shows.", style="yellow")


def line(node: Node, sought: str) -> Text:
    """Return a node on one line, indented below what caused it; what was asked for stands out."""
    said = [str(node.facts[name]) for name in _SHOWN_FIRST if name in node.facts]
    for name, word in _AMOUNTS.items():
        if amount := node.facts.get(name):
            said.append(f"{word} {major(int(str(amount)), str(node.facts['currency']))}".strip())
    if any(name in node.facts for name in _AMOUNTS):
        said.append(str(node.facts["currency"]))
    rest = node.facts.keys() - set(_SHOWN_FIRST) - _AMOUNTS.keys() - _UNDER_WRAPS
    said += [f"{name}={node.facts[name]}" for name in sorted(rest)]
    is_sought = node.id == sought
    text = Text("  " * node.depth)
    text.append(f"{node.at:%Y-%m-%d %H:%M:%S} ", style="dim")
    text.append(visible(f"{node.kind} {node.id}"), style="bold reverse" if is_sought else "bold")
    return text.append(visible(f"  {' '.join(said)}") + ("  <- this one" if is_sought else ""))


def _plain(found: Trace) -> dict[str, object]:
    return {
        "id": found.sought,
        "kind": found.kind,
        "is_cut": found.is_cut,
        "nodes": [
            {
                "kind": node.kind,
                "id": node.id,
                "depth": node.depth,
                "parent_kind": node.parent[0] if node.parent else None,
                "parent_id": node.parent[1] if node.parent else None,
                "at": node.at.isoformat(),
                "facts": node.facts,
            }
            for node in found.nodes
        ],
    }
