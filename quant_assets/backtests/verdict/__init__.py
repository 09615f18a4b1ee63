"""What a backtest's result is worth: its tests put and answered, costs stressed, caveats, and one verdict."""
