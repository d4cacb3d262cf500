"""How spans reach a collector: over one connection, which is made anew when it is gone."""

import datetime as dt
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.otlp_transport import StandardTransport


class Server(ThreadingHTTPServer):
    """Answers 200, or as it is told; knows what was asked, and over how many connections."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections = 0
        self.asked: list[tuple[str, bytes, str | None]] = []
        self.body = b""
        self.hangs_up_after_answers = False
        self.is_silent = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, body, self.headers["Content-Type"]))
        if self.server.is_silent:
            threading.Event().wait(5)
            return
        self.send_response(200)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)
        # The client is not told: it finds out when it asks again.
        self.close_connection = self.server.hangs_up_after_answers

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def transport() -> Iterator[StandardTransport]:
    transport = StandardTransport()
    yield transport
    transport.close()


def post(transport: StandardTransport, server: Server, data: bytes = b"spans", timeout: float = 60.0):
    return transport.request(
        "POST", server.url, headers={"Content-Type": "application/x-protobuf"}, timeout=timeout, data=data
    )


def test_exports_go_over_one_connection(server: Server, transport: StandardTransport) -> None:
    for data in (b"one", b"two"):
        assert post(transport, server, data).status_code == 200

    kind = "application/x-protobuf"
    assert server.asked == [("/v1/traces", b"one", kind), ("/v1/traces", b"two", kind)]
    assert server.connections == 1


def test_answer_is_told_with_its_headers(server: Server, transport: StandardTransport) -> None:
    server.body = b"partial"

    result = post(transport, server)

    assert (result.status_code, result.reason, result.error) == (200, "OK", None)
    assert (result.content(), result.headers().get("retry-after")) == (b"partial", "7")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate that it signed for itself, of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collector")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "collector.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def secured(server: Server, certificate: Path) -> str:
    """The server's address over TLS, which it speaks alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server.url.replace("http", "https")


def test_tls_connection_that_was_closed_meanwhile_is_made_anew(
    server: Server, secured: str, certificate: Path
) -> None:
    transport = StandardTransport(str(certificate))
    server.hangs_up_after_answers = True
    assert transport.request("POST", secured, timeout=60.0, data=b"spans").status_code == 200

    failed = transport.request("POST", secured, timeout=60.0, data=b"spans")

    assert failed.status_code is None
    assert transport.is_connection_error(failed.error), repr(failed.error)
    assert transport.request("POST", secured, timeout=60.0, data=b"spans").status_code == 200
    transport.close()


def test_collector_of_unknown_authority_is_not_asked_again(secured: str, transport: StandardTransport) -> None:
    result = transport.request("POST", secured, timeout=60.0, data=b"spans")

    assert isinstance(result.error, ssl.SSLCertVerificationError)
    assert not transport.is_connection_error(result.error)


def test_address_is_asked_for_as_it_may_be_written(server: Server, transport: StandardTransport) -> None:
    url = f"http://name:word@127.0.0.1:{server.server_port}/a b/ä/%41?x=1#part"

    assert transport.request("POST", url, headers={}, timeout=60.0, data=b"").status_code == 200
    assert server.asked == [("/a%20b/%C3%A4/%41?x=1", b"", None)]


def test_connection_that_was_closed_meanwhile_is_made_anew(server: Server, transport: StandardTransport) -> None:
    server.hangs_up_after_answers = True
    assert post(transport, server).status_code == 200

    failed = post(transport, server)

    assert failed.status_code is None
    assert transport.is_connection_error(failed.error), "the exporter asks once more at once"
    assert post(transport, server).status_code == 200


def test_long_answer_is_not_read_to_its_end(server: Server, transport: StandardTransport) -> None:
    server.body = b"x" * 1_000_000

    assert len(post(transport, server).content()) == 65_536
    server.body = b"short"
    assert post(transport, server).content() == b"short"
    assert server.connections == 2


def test_silent_collector_holds_the_exporter_for_its_timeout_alone(
    server: Server, transport: StandardTransport
) -> None:
    server.is_silent = True

    result = post(transport, server, timeout=0.05)

    assert isinstance(result.error, TimeoutError)
    assert not transport.is_connection_error(result.error), "asking again at once would wait again"


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n"])
def test_collector_that_says_a_byte_now_and_then_holds_the_exporter_no_longer(
    transport: StandardTransport, said: bytes
) -> None:
    is_over = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(said)
            while not is_over.wait(0.05):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        collector = threading.Thread(target=trickle, daemon=True)
        collector.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces"
        result = transport.request("POST", url, timeout=0.5, data=b"spans")
        is_over.set()
        collector.join()

    assert isinstance(result.error, TimeoutError)


def test_absent_collector_is_an_error_that_passes(free_tcp_port: int, transport: StandardTransport) -> None:
    result = transport.request("POST", f"http://127.0.0.1:{free_tcp_port}/v1/traces", timeout=1.0, data=b"")

    assert isinstance(result.error, ConnectionRefusedError)
    assert transport.is_connection_error(result.error)


def test_collector_that_speaks_no_tls_is_an_error(server: Server, transport: StandardTransport) -> None:
    result = transport.request("POST", server.url.replace("http", "https"), timeout=5.0, data=b"")

    assert isinstance(result.error, OSError)
    assert result.status_code is None


def test_silence_instead_of_an_answer_is_an_error_that_passes(transport: StandardTransport) -> None:
    assert transport.is_connection_error(http.client.RemoteDisconnected())
