"""The output of an evaluation: metrics.json, HTML page, tables, model card."""
