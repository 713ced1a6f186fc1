"""Request and response bodies that differ from the documents."""
