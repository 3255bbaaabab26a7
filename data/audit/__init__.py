"""`python -m data.audit`: what is in a prepared data set, and what is wrong with it."""
