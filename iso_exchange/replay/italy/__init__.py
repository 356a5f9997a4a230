"""The Italian day-ahead electricity auction through the engine: real books, published prices."""
