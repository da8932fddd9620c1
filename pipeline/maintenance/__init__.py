"""What keeps a home tidy: small files compacted, files and folders removed that no cycle or version needs."""
