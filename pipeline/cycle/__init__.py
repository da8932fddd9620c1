"""What a cycle is, and what is kept of it: definition, records, accepted versions, lease, lineage."""
