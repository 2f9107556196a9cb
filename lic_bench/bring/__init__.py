"""Results from elsewhere, brought into a store and shown beside our own.

`figures` reads curves and tables of points, `pictures` finds and measures decoded images, `command`
is the command line. What is brought in is read and checked to its end before anything is written.
"""
