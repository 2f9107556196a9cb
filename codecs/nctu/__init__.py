"""Residual autoencoder with an importance map for each channel: our trained codec after NCTU's.

D. Alexandre, C.-P. Chang, W.-H. Peng, H.-M. Hang, "An autoencoder-based learned image compressor:
description of challenge proposal by NCTU", arXiv 1902.07385: the entry to CLIC 2018.
"""
