"""Workers are killed, frozen or drained under open streams: every stream must read as if nothing had happened."""
