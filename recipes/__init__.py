"""What a release team runs from a checkout: commands here, the rooms behind them in folders."""
