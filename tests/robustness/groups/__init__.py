"""Workers on several nodes: this machine stands for all of them."""
