"""Who a connection belongs to: names in certificates, and a certificate authority for development."""
