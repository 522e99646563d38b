"""A test process for the supervisor: it answers 200 on a port, and can be told to misbehave.

Arguments: PORT [BEHAVIOUR]. `wrong` exits with status 2 and a message; `dies` exits with status 1 at once; `deaf`
ignores SIGTERM; `parent` starts a child that ignores SIGTERM, in the same group.
"""

import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def main(port: int, behaviour: str = "") -> None:
    if behaviour == "wrong":
        sys.stderr.write("wrong configuration:\nTIDEGATE_POOL = 'x': no such pool\n")
        raise SystemExit(2)
    if behaviour == "dies":
        sys.stderr.write("out of luck\n")
        raise SystemExit(1)
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "parent":
        subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
    HTTPServer(("127.0.0.1", port), Ready).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
