"""A small weather station's site."""

# Said by the health view, so that a deploy script can wait until the copy runs what it should.
RELEASE = "2026.11.1"
