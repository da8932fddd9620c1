"""The network: tensors in, scores and losses out."""
