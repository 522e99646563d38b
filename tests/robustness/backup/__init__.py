"""An installation with docker compose is saved, lost and restored, by the scripts that operators call."""
