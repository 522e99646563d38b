"""A pool gets one new version after the other under load, and goes back now and then."""
