"""Load on a running server, with Locust: many clients at once, every answer checked."""
