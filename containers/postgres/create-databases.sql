-- The server's; Grafana's is POSTGRES_DB, which the image makes.
CREATE DATABASE tunelane;
