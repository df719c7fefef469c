"""Captures: what goes into a device and what comes out of it, recorded to train an amp.

``signal`` makes something to be played into a device, ``record`` plays it and records the answer (``take`` is its audio
process), ``check`` judges a pair of recordings and puts it in time, ``timing`` measures how, ``wav`` writes them.
"""
