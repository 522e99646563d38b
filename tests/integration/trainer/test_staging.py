"""Staging from a real S3 server, in processes that are killed: nothing that is on the disk is fetched again."""
