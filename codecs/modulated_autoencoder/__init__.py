"""The modulated autoencoder: one network for all rates, and any lambda between them.

F. Yang et al., IEEE Signal Processing Letters 27, 2020. See `model` for the network and
MODEL_CARD.md for the weights that come along.
"""
