"""The settler: settles each delivery interval, then issues statements and community totals."""
