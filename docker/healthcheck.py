"""Exit with 0 when the server in this container is ready, with 1 and the reason when it is not. No curl needed.

The port is RNNSERVE_PORT; a server started with --port instead is not found. Proxy variables are left out of it.
"""

import http.client
import os
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("RNNSERVE_PORT", "8000")), timeout=4)
try:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    body = answer.read(1000).decode(errors="replace")
except OSError as error:
    sys.exit(f"not ready: {error}")
print(body)
sys.exit(answer.status != 200)
