"""Small workflows to copy from. Each file stands alone: read it, run it, take it."""
