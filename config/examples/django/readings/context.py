"""What the router says about a request, for every template."""


def router(request):
    """`router.mode` is empty in normal times, else "read-only", "anonymous" or both."""
    return {
        "router": {
            "mode": request.headers.get("X-Cutover-Mode", ""),
            "pool": request.headers.get("X-Cutover-Pool", ""),
            "release": request.headers.get("X-Cutover-Release", ""),
        }
    }
