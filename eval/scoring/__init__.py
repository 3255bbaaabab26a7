"""From predictions to scores with intervals, tests and the verdict."""
