"""Pre-training on images without labels by a masked autoencoder."""
