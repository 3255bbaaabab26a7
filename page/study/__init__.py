"""One study on the page: its files, its reading, its record; many as a worklist."""
