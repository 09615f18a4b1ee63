"""What arrives while the market is open."""
