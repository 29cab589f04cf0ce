"""How Bee was made: its training data, its network, its training, its examination.

Kept so that Bee can be corrected and made again. Nothing at run time imports this package, and
its own needs (torch, numpy, tokenizers, gguf) are stated in rbee/bee/README.md, not installed.
"""
