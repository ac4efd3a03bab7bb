"""Load on a running server: starts it, sends requests, keeps what came when. Knows HTTP and time; knows no task."""
