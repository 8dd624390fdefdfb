"""What things cost, side by side in one run: ratios and their spread, never a test with a time limit."""
