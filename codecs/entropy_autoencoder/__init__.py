"""The codec entropy-autoencoder: one autoencoder's numbers, coded in three ways.

The numbers and the pictures are those of the codec compressive-autoencoder; `model` has the learned
coders, `training` their training, `inference` the bitstreams, `codec` what the bench sees.
"""
