"""Recurrent networks, iteration by iteration: our trained codec after Toderici et al., 2017.

G. Toderici, D. Vincent, N. Johnston, S. J. Hwang, D. Minnen, J. Shor, M. Covell, "Full resolution
image compression with recurrent neural networks", CVPR 2017.
"""
