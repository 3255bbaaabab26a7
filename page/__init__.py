"""Parts of the web page (app.py): reading studies, HTML cards, exports, corrections, accounts and examples."""
