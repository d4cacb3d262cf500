"""Grafana's dashboards as code: `panels` says what they show, `python -m ops.grafana` writes the files."""
