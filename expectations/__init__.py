"""What must be true of data: table contracts, expectation suites, and the runner that judges tables by them."""
