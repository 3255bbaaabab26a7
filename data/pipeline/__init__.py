"""From raw study to a row on disk: workers, row, writer, shards, staging."""
