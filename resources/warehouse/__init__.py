"""The engines behind the catalog, and what is asked of them."""
