"""One study on the page: its files, its reading and its record; many studies as a worklist."""
