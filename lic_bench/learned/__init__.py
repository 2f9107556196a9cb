"""What trained codecs share: quantisers, entropy coding, bitstreams, data, training.

Nothing here is imported by the bench itself, and torch is needed by all but `codec`: codecs import
the rest inside their methods, so that listing them stays quick.
"""
