"""Reports for archives of any size, on one machine or a cluster, with Ray Data."""
