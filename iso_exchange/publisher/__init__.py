"""Publishing the log: tiles, entry bundles and the signed checkpoint."""
