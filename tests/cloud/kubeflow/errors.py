"""Errors as the API answers with them."""

# https://github.com/grpc-ecosystem/grpc-gateway/blob/main/runtime/errors.go
STATUS_BY_CODE = {3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 12: 501, 13: 500, 14: 503, 16: 401}


class ApiError(Exception):
    """An answer that says no, by its gRPC code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
