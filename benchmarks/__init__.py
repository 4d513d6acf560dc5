"""This project beside its peers, on one machine, in one run. Start with README.md."""
