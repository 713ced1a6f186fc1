"""Who may do how much: keys, sessions, limits, usage."""
