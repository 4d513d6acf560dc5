#!/usr/bin/env python
"""Run a management command of this checkout."""

from chatwidget.__main__ import main

if __name__ == "__main__":
    main()
