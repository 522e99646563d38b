"""Clients that leave, that do not read, or that send too much: nobody else notices, and nothing is left behind."""
