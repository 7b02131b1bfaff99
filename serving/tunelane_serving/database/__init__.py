"""What the server keeps, in one SQL database: SQLite by default, PostgreSQL by URL."""
