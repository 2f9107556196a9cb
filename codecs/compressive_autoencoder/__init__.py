"""The codec compressive-autoencoder: L. Theis, W. Shi, A. Cunningham, F. Huszár, ICLR 2017.

`model` has the network, `training` its training, `inference` its bitstreams, `codec` what the bench
sees.
"""
