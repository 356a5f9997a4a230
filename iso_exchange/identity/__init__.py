"""Who a connection belongs to: names in certificates, a development certificate authority."""
