"""Gateways behind a load balancer leave and come back, one after another: no request fails, no stream breaks."""
