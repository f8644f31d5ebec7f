"""What every other package may use: errors, ids, quantities, back-off. No I/O, no policy."""
