"""Studies: from archives, tables or the phantom renderer to one dataset on disk."""
