"""The order in which bits of several channels are coded, and what has been coded before each.

Bits are coded in waves,

    wave = 2 i + j + 4 k        for row i, column j, channel k,

all bits of a wave at once: some hundreds of them, at most one of each site. Coded before a bit are
then, of the sites around it (`NEAR`), the four before it in raster order up to its own channel, and
all others up to the channel before: a window without holes. (Video coding knows such waves, over
rows of blocks: wavefront parallel processing in HEVC, ITU-T H.265, section 9.3.1.)
"""

ROW_STEP, CHANNEL_STEP = 2, 4
"""How the number of a wave grows with the row and with the channel; with the column, by 1."""
NEAR = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1))
"""Rows and columns to the sites around a bit."""
BEFORE = 4
"""The first so many of `NEAR` have been coded in the bit's own channel, too."""
OWN = (*NEAR[:BEFORE], (0, -2), (-2, 0))
"""Sites whose bits of the own channel a context model looks at."""
DEPTH = 3
"""Channels before its own that a context model sees by their distance."""
