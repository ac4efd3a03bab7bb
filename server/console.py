"""The console command `rnnserve`: serve, train, export."""


def main() -> None:
    """Run it."""
    raise SystemExit("not here yet")
