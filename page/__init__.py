"""Parts of the web page (app.py): reading what a visitor brings, examples, and HTML for what the model says."""
