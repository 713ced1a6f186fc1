"""A directory of source as one text, and the parts it is made of."""
