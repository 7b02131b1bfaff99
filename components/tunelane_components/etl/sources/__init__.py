"""Reading labelled rows from any source: files are found, opened as streams, cut into chunks, and read row by row."""
