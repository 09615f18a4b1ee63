"""The market a backtest runs on: bars, ticks, instruments, rates and leavings, from frames to the exchange's memory."""
