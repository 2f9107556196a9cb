"""Content-weighted compression: a trained codec that spends its bits where the content needs them.

M. Li, W. Zuo, S. Gu, D. Zhao, D. Zhang, "Learning convolutional networks for content-weighted image
compression", CVPR 2018.

`codec` is what the bench sees, `model` the network, `inference` turns images into bytes and back,
`training` and `start` make the weights, `ablation` tells what each part buys. MODEL_CARD.md tells
what the weights that come along were trained on, for how long, and how good they are.
"""
