"""An online course platform that notices how its students feel: see README.md in this folder."""
