"""How the places of a batch are shared between requests."""


def max_rows_of_one(max_rows: int) -> int:
    """The most places that one request may hold of so many: an eighth stays free for others, from 8 places on."""
    return max_rows - max(1, max_rows // 8) if max_rows >= 8 else max_rows
