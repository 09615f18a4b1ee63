"""What is known beyond prices, as assets: records by symbol, their sentiment, and what features read of them."""
