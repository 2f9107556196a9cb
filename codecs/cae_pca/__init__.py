"""Convolutional autoencoder and principal components: our trained codec after Cheng et al., 2018.

Z. Cheng, H. Sun, M. Takeuchi, J. Katto, "Deep convolutional autoencoder-based lossy image
compression", Picture Coding Symposium 2018.
"""
