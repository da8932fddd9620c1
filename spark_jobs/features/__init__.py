"""How item features are computed: text vectors, and vectors from links."""
