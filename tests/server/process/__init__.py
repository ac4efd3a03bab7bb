"""Tests of server.process."""
