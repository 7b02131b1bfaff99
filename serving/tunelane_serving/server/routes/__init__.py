"""The API, a module a subject. What they answer with stands in `tunelane_serving.server.wire`."""
