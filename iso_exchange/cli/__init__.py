"""The command line ``iso``: one file per noun over the Python SDK."""
