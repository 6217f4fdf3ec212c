"""The rules of Stepwell as plain values and functions. Knows no clock, no chance, no database and no event loop."""
