"""Registration of bones, priors of their shapes, residual kriging."""
