"""Running a server: start, memory, overload, export."""
