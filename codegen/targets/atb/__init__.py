"""Ascend ATB: the dialect with its contract, lowering to it, and the printers."""
