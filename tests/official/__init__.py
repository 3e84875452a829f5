"""The official OQTOPUS clients, as they were published, against the emulator; left out where they are not installed."""
