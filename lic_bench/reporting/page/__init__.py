"""The report: one HTML file that holds everything it shows, and asks the network for nothing.

`data` gathers what the page shows, `pictures` what its viewer shows, `page` writes the file. What
runs in the browser lies beside them as HTML, CSS and JavaScript without dependencies.
"""
