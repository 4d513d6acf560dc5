"""Vendors' servers for tests: real HTTP on a loopback socket, strict about what they are asked."""
