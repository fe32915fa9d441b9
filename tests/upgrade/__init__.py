"""From the previous release to this one, with real processes of both."""
