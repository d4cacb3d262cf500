"""The reference page: one HTML document without scripts, which loads nothing from anywhere."""

import json
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
h1{font-size:1.6rem} h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}
details{border:1px solid #d0d7de;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer} code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:#f6f8fa;padding:.8rem;overflow:auto;border-radius:6px}
.m{display:inline-block;min-width:4.5rem;font-weight:600} .l{color:#57606a}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}pre{background:#161b22}
details,h2{border-color:#30363d}.l{color:#8b949e}}
"""


def page(openapi: dict[str, Any]) -> str:
    """Return the page that shows an OpenAPI document."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in openapi["paths"].items():
        for method, op in methods.items():
            by_tag.setdefault(op["tags"][0], []).append(_operation(path, method, op))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(operations)}" for tag, operations in by_tag.items())
    schemas = "".join(
        f"<details><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>"
        for name, schema in openapi["components"]["schemas"].items()
    )
    info = openapi["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        f'<p>For programs: <a href="/openapi.json">/openapi.json</a></p>{sections}<h2>schemas</h2>{schemas}'
        "</body></html>"
    )


def _operation(path: str, method: str, op: dict[str, Any]) -> str:
    access = "token" if op["security"] else "public"
    parameters = [{"name": p["name"], "in": p["in"], "required": p["required"]} for p in op["parameters"]]
    title = f'<span class="m">{escape(method.upper())}</span> <code>{escape(path)}</code>'
    parts = [f'<summary>{title} <span class="l">{escape(op["summary"])} · {access}</span></summary>']
    if parameters:
        parts.append(f"<p>Parameters</p>{_json(parameters)}")
    if "requestBody" in op:
        parts.append(f"<p>Body</p>{_json(op['requestBody']['content'])}")
    answers = {status: answer["description"] for status, answer in op["responses"].items()}
    parts.append(f"<p>Answers</p>{_json(answers)}")
    return f"<details>{''.join(parts)}</details>"


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"
