"""What raters see: one HTML file that holds everything it shows, and asks the network for nothing.

`html` writes the file. What runs in the browser lies beside it, without dependencies.
"""
