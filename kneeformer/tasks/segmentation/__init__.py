"""Segmentation of images into label maps by a hybrid transformer."""
