"""Round trips out of fills, and the statistics of them."""
