"""`make demo`: two thousand mails, and a worker that is killed in the middle of them."""
