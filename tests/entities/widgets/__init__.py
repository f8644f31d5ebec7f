"""One kind in three versions, which name and measure the same things differently."""
