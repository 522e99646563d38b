"""Workers are killed, frozen or told to leave under open streams: every stream must read as if nothing had happened."""
