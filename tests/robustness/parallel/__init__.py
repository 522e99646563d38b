"""A real model in several processes answers as it does in one."""
