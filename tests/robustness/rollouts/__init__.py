"""A pool changes over again and again under load: no request starts on the version before."""
