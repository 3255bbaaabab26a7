"""Where studies come from: one module a kind of archive, each yields raw studies."""
