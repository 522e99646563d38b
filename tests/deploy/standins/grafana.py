"""Answers as Grafana's health check does, and nothing else."""

from http.server import BaseHTTPRequestHandler, HTTPServer


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("", 3000), Health).serve_forever()
