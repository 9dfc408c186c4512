"""Why a call runs as it does, with the numbers that decide it."""
