"""What the Makefile and the tests run besides the tools. No part of what is installed."""
