"""Search over what an owner has stored: parse, narrow down in the database, compare, show."""
