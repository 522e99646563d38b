"""What the precision of a model's weights costs and brings: each is served in turn, and measured by the same load."""
