"""Market data while the market is open: the job that follows a venue's streams and keeps them in the lake."""
