"""People judge: blind comparisons, from bitstreams to scores with intervals.

`comparisons` chooses what is compared, `making` puts a study together, `page/` is what raters see,
`answers` takes in what they answered, `scores` says what came of it.
"""
