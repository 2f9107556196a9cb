"""What trained codecs share: quantisers, entropy coding, bitstreams, data, training.

Nothing here is imported by the bench itself, and torch is needed by most of it: codecs import from
here inside their methods, so that listing them stays quick.
"""
