"""How a model of a cycle is trained: found, resumed or trained now."""
