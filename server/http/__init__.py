"""HTTP as such: bodies, answers, event streams, clients that leave, and the record of each request."""
