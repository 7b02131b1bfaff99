"""Addresses as messages and logs have them: a signed one keeps its signature to itself."""


def shown(address: str) -> str:
    """Give an address without what may be a secret: a user and password before its host, its query and its fragment.

    What is no address (a path, a hub id) stays as it is.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    place, mark, _ = rest.partition("?")
    place = place.partition("#")[0]
    host, slash, path = place.partition("/")
    _, at, bare_host = host.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{bare_host}{slash}{path}{'?***' if mark else ''}"
