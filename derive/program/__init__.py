"""From recurrences to programs: passes that make them fast, and the loops and arrays that are left."""
