"""Clients that leave, that do not read, and that are too many: nobody else notices, and nothing is left of them."""
