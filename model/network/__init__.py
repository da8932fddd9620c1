"""The network: from batches and the catalogue to scores and losses."""
