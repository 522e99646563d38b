"""Gateways behind a load balancer are restarted one after another: no request fails, and no stream breaks."""
