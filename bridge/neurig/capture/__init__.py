"""Captures: what goes into a device and what comes out of it, recorded to train an amp.

``signal`` makes something to be played into a device, ``check`` judges a pair of recordings and puts it in time.
"""
