"""What an evaluation leaves behind: metrics.json, page, tables, model card."""
