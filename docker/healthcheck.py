"""Exit with 0 when the server in this container is ready, with 1 and the reason when it is not. No curl needed.

The port is RNNSERVE_PORT; a server started with --port instead is not found. Proxy variables are left out of it. Where
Kubernetes has put the address of a Service called rnnserve there (tcp://10.0.0.1:80), the server takes its default.
"""

import http.client
import os
import sys

port = os.environ.get("RNNSERVE_PORT", "8000")
connection = http.client.HTTPConnection("127.0.0.1", 8000 if "://" in port else int(port), timeout=4)
try:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    body = answer.read(1000).decode(errors="replace")
except OSError as error:
    sys.exit(f"not ready: {error}")
print(body)
sys.exit(answer.status != 200)
