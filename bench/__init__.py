"""Speed and memory of cxrscribe, measured beside what else would do the work (`python -m bench.run`)."""
