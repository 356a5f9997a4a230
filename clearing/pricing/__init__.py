"""Published pricing rules, one file per rule (DESIGN 4.2)."""
