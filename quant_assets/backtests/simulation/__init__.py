"""Orders meet the market: from their frame to the exchange, through the simulation, and back to frames."""
