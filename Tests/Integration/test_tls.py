"""HTTPS by certificate files: real clients that verify, files that change while streams run, files that cannot be used, and
who may listen beyond this host."""

import concurrent.futures
import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import openai
import pytest
from certificates import Authority, put
from daemon import BIN, NANO, TALES, Daemon, wait_for
from service import Service
from test_systemd import USER, place, programs, root  # noqa: F401

OPTIONS = ("--idle-timeout", "60s", "--threads", "2")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


class Files:
    def __init__(self, folder, authority):
        self.authority, self.certificate, self.key = authority, folder / "certificate.pem", folder / "key.pem"
        self.renew("first.test")

    @property
    def options(self) -> tuple[str, ...]:
        return ("--tls-certificate", str(self.certificate), "--tls-key", str(self.key))

    def renew(self, label: str, **more):
        certificate, key = self.authority.issue(label, **more)
        put(self.certificate, certificate)
        put(self.key, key)


@pytest.fixture
def files(tmp_path, authority):
    return Files(tmp_path, authority)


@pytest.fixture
def trust(authority):
    return ssl.create_default_context(cafile=str(authority.path))


def address(daemon) -> tuple[str, int]:
    host, port = daemon.url.removeprefix("https://").rsplit(":", 1)
    return host, int(port)


def shown(daemon, trust) -> str:
    """Whose certificate a new connection gets."""
    with socket.create_connection(address(daemon), timeout=10) as plain:
        with trust.wrap_socket(plain, server_hostname="localhost") as secure:
            return dict(pair[0] for pair in secure.getpeercert()["subject"])["commonName"]


def get(url: str, trust, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20, context=trust) as answer:
        return answer.status, json.load(answer)


def client(daemon, trust, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(
        base_url=daemon.url + "/v1", api_key=key, max_retries=0, http_client=openai.DefaultHttpxClient(verify=trust))


def said(daemon, text: str, seconds: float = 15):
    return wait_for(lambda: text in "".join(daemon.errors), seconds, f"{text} in {daemon.errors[-5:]}")


# --- clients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_openai_speaks_https_and_verifies(data, files, trust, kind):
    files.renew("first.test", kind=kind)
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        assert daemon.url.startswith("https://127.0.0.1:")
        daemon.deploy(TALES, "--name", "tales")
        ask = dict(model="tales", prompt="Once upon a time", max_tokens=40, temperature=0)
        whole = client(daemon, trust).completions.create(**ask).choices[0].text
        parts = [c.choices[0].text for c in client(daemon, trust).completions.create(**ask, stream=True) if c.choices]
        assert whole and "".join(parts) == whole
        # The CLI goes by the socket, as before.
        assert daemon.run("generate", "tales", "Once upon a time", "--max-tokens", "40", "--temperature", "0").strip() == whole.strip()
        # Who does not trust the authority hears why, and it is not this server's fault.
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            get(daemon.url + "/v1/models", ssl.create_default_context())


def test_versions_protocol_and_names(data, files, trust):
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        for version, works in [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)]:
            context = ssl.create_default_context(cafile=str(files.authority.path))
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            with socket.create_connection(address(daemon), timeout=10) as plain:
                try:
                    with context.wrap_socket(plain, server_hostname="localhost") as secure:
                        assert works and secure.selected_alpn_protocol() == "http/1.1"
                except ssl.SSLError:
                    assert not works
        # The name that the client has verified is one of this server; a web page's is not.
        host, port = address(daemon)
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=trust)
        for headers, status in [({"Host": "first.test"}, 200), ({"Host": "first.test", "Origin": "https://first.test"}, 200),
                                ({"Host": "first.test", "Origin": "https://evil.test"}, 403)]:
            connection.request("GET", "/v1/models", headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status, headers
        connection.close()


def test_plain_http_is_told_where_it_came(data, files, trust):
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        host, port = address(daemon)
        # Also one whose client has sent more than anyone reads before it looks for an answer.
        for method, body in [("GET", None), ("POST", b"{}"), ("POST", b"x" * (1 << 20))]:
            connection = http.client.HTTPConnection(host, port, timeout=10)
            connection.request(method, "/v1/completions", body)
            answer = connection.getresponse()
            told = json.load(answer)["error"]
            assert answer.status == 400 and answer.getheader("Connection") == "close"
            assert told["message"] == "the plain HTTP request was sent to an HTTPS port; begin the URL with https://"
            connection.close()
        # The first byte is enough, and who keeps the connection then does not have it for long.
        with socket.create_connection((host, port), timeout=20) as plain:
            plain.sendall(b"G")
            said = b""
            while part := plain.recv(4096):
                said += part
            assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n") and said.count(b"HTTP/1.1") == 1
            wait_for(lambda: closed(plain), 20, "the end of the connection")
        # What is neither gets no answer that could be taken for one.
        with socket.create_connection((host, port), timeout=20) as plain:
            plain.sendall(b"\x00GET / HTTP/1.1\r\n\r\n")
            try:
                assert not plain.recv(100).startswith(b"HTTP/")
            except ConnectionError:
                pass
        assert get(daemon.url + "/health", trust)[0] == 200


def closed(plain: socket.socket) -> bool:
    """Whether the other side takes nothing more."""
    try:
        plain.sendall(b"x")
        return False
    except OSError:
        return True


def test_who_leaves_in_the_middle_ends_his_sequence(data, files, trust):
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        daemon.deploy(TALES, "--name", "tales")
        for abrupt in (False, True):
            host, port = address(daemon)
            connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=trust)
            body = {"model": "tales", "prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.readline().startswith(b"data: {")
            assert daemon.status()["sequences_active"] == 1
            if not abrupt:
                connection.sock.settimeout(5)
                try:
                    # Says goodbye; what still comes is not read.
                    connection.sock.unwrap()
                except (ssl.SSLError, OSError):
                    pass
            connection.close()
            answer.close()
            wait_for(lambda: daemon.status()["sequences_active"] == 0, 3, "the sequence has ended")


# --- files that change --------------------------------------------------------------------------------------------------


def test_new_files_are_taken_while_streams_go_on(data, files, trust):
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        daemon.deploy(TALES, "--name", "tales")
        ask = dict(model="tales", prompt="Once upon a time", max_tokens=300, temperature=0, extra_body={"ignore_eos": True})
        text = client(daemon, trust).completions.create(**ask).choices[0].text
        with concurrent.futures.ThreadPoolExecutor() as pool:
            def stream():
                return "".join(c.choices[0].text for c in client(daemon, trust).completions.create(**ask, stream=True) if c.choices)

            # A connection that is kept has its certificate to the end.
            kept = http.client.HTTPSConnection("localhost", address(daemon)[1], timeout=20, context=trust)
            kept.request("GET", "/health")
            kept.getresponse().read()
            streams = [pool.submit(stream) for _ in range(2)]
            assert shown(daemon, trust) == "first.test"
            files.renew("second.test")
            wait_for(lambda: shown(daemon, trust) == "second.test", 10, "the new certificate")
            kept.request("GET", "/health")
            assert kept.getresponse().read() and kept.sock.getpeercert()["subject"] == ((("commonName", "first.test"),),)
            kept.close()
            assert [s.result(60) for s in streams] == [text] * 2
        said(daemon, f"{files.certificate} was read again; it is valid until ")


def test_files_that_cannot_be_used_leave_the_old_ones(data, files, authority, trust):
    other, _ = authority.issue("other.test")
    expired, itskey = authority.issue("expired.test", days=-0.5)
    certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        def still(reason: str):
            daemon.errors.clear()
            # At once, not at the next look.
            daemon.process.send_signal(signal.SIGHUP)
            said(daemon, reason)
            said(daemon, "new connections get the certificate that was read before")
            assert shown(daemon, trust) == "first.test"

        put(files.certificate, other)
        still(f"{files.key} is not the key of the first certificate in {files.certificate}")
        put(files.certificate, b"nothing\n")
        still(f"{files.certificate} holds no certificate in PEM")
        put(files.certificate, certificate[: len(certificate) // 2])
        still(f"{files.certificate} holds no certificate in PEM")
        put(files.certificate, expired)
        put(files.key, itskey)
        still(f"{files.certificate} has expired on ")
        put(files.certificate, certificate)
        put(files.key, key, mode=0o644)
        still("a key whose mode 644 lets others read it")
        files.key.unlink()
        still(f"open {files.key} for TLS: No such file")
        # One after the other, with time between: as soon as they fit.
        certificate, key = authority.issue("third.test")
        put(files.certificate, certificate)
        time.sleep(5)
        assert shown(daemon, trust) == "first.test"
        put(files.key, key)
        wait_for(lambda: shown(daemon, trust) == "third.test", 10, "the new pair")


def test_files_of_other_names_come_with_the_settings(data, files, authority, trust, tmp_path):
    config = tmp_path / "locum.yaml"
    config.write_text(f"tls-certificate: {files.certificate}\ntls-key: {files.key}\nthreads: 2\n")
    daemon = Daemon(data, "--config", str(config))
    with daemon.start(session=True):
        assert shown(daemon, trust) == "first.test"
        certificate, key = authority.issue("renamed.test")
        put(tmp_path / "c2.pem", certificate)
        put(tmp_path / "k2.pem", key)
        config.write_text(f"tls-certificate: {tmp_path}/c2.pem\ntls-key: {tmp_path}/k2.pem\nthreads: 2\n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: shown(daemon, trust) == "renamed.test", 5, "the other file")
        config.write_text("threads: 2\n")
        daemon.process.send_signal(signal.SIGHUP)
        said(daemon, f"tls-certificate was {tmp_path}/c2.pem, is no TLS: that takes a restart of locum-control")
        assert shown(daemon, trust) == "renamed.test"


@root
def test_the_service_reads_new_files_behind_its_walls(place, programs, authority, trust):  # noqa: F811
    folder = place / "tls"
    folder.mkdir(mode=0o755)
    files = Files(folder, authority)
    own = lambda: [os.chown(path, 0, int(USER)) or path.chmod(0o640) for path in (files.certificate, files.key)]  # noqa: E731
    own()
    config = f"tls-certificate: {files.certificate}\ntls-key: {files.key}\nthreads: 2\n"
    with Service(place, config, user=USER, limited=True, bin=programs) as service:
        assert service.url.startswith("https://") and shown(service, trust) == "first.test"
        files.renew("second.test")
        own()
        wait_for(lambda: shown(service, trust) == "second.test", 10, "the new certificate")


# --- the start ----------------------------------------------------------------------------------------------------------


def test_wrong_files_end_the_start_with_their_names(data, files, authority):
    other, _ = authority.issue("other.test")

    def refused(reason: str):
        done = subprocess.run(
            [str(BIN / "locum"), "up", "--data", str(data), "--listen", "127.0.0.1:0", *files.options],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and reason in done.stderr and not done.stdout, done.stderr

    certificate = files.certificate.read_bytes()
    put(files.certificate, other)
    refused(f"{files.key} is not the key of the first certificate in {files.certificate}")
    put(files.certificate, b"")
    refused(f"{files.certificate} holds no certificate in PEM")
    put(files.certificate, certificate)
    files.key.chmod(0o604)
    refused(f"{files.key}, a key whose mode 604 lets others read it")
    put(files.key, certificate)
    refused(f"{files.key} holds no key without a passphrase in PEM")
    files.key.unlink()
    refused(f"open {files.key} for TLS: No such file")
    files.key.mkdir()
    refused(f"read {files.key}, which is no file")
    files.key.rmdir()
    os.mkfifo(files.key, 0o600)
    refused(f"read {files.key}, which is no file")
    done = subprocess.run(
        [str(BIN / "locum"), "up", "--data", str(data), *files.options[:2]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "--tls-certificate: tls-certificate is set and tls-key is not" in done.stderr


def test_an_expired_certificate_is_served_and_complained_of(data, files, trust):
    """Whose clock or renewal is wrong is told so by each client; a service that did not start would tell nobody."""
    files.renew("late.test", days=-0.5)
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        said(daemon, f"{files.certificate} has expired on ")
        with pytest.raises(urllib.error.URLError, match="certificate has expired"):
            get(daemon.url + "/health", trust)
        files.renew("fresh.test")
        wait_for(lambda: fresh(daemon, trust), 10, "the new certificate")


def fresh(daemon, trust) -> bool:
    try:
        return shown(daemon, trust) == "fresh.test"
    except ssl.SSLError:
        return False


def test_beyond_this_host_it_takes_tls_and_a_tenant_or_a_word(data, files, trust):
    def refused(*options: str) -> str:
        done = subprocess.run(
            [str(BIN / "locum"), "up", "--data", str(data), "--listen", "0.0.0.0:0", *options, *OPTIONS],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and not done.stdout, done.stderr
        return done.stderr

    assert "nothing would be encrypted" in refused()
    assert "nobody would need a key" in refused(*files.options)
    with Daemon(data, *OPTIONS) as daemon:
        daemon.run("tenant", "create", "ada")
        key = daemon.run("key", "create", "ada").strip()
    assert "nothing would be encrypted" in refused()
    with Daemon(data, *files.options, *OPTIONS).start("0.0.0.0:0") as daemon:
        port = daemon.url.rsplit(":", 1)[1]
        other = own_address()
        unverified = ssl._create_unverified_context()
        for host in ("127.0.0.1", other):
            url = f"https://{host}:{port}/v1/models"
            assert get(url, unverified, Authorization=f"Bearer {key}")[0] == 200
            with pytest.raises(urllib.error.HTTPError) as none:
                get(url, unverified)
            assert none.value.code == 401
        # Without the last tenant this host may ask without a key, others not at all.
        daemon.run("tenant", "rm", "ada")
        assert get(f"https://127.0.0.1:{port}/v1/models", unverified)[0] == 200
        with pytest.raises(urllib.error.HTTPError) as none:
            get(f"https://{other}:{port}/v1/models", unverified)
        assert none.value.code == 401 and "no tenant" in json.load(none.value)["error"]["message"]
    # Said explicitly, both go.
    with Daemon(data, "--insecure", *OPTIONS).start("0.0.0.0:0") as daemon:
        port = daemon.url.rsplit(":", 1)[1]
        with urllib.request.urlopen(f"http://{other}:{port}/v1/models", timeout=10) as answer:
            assert answer.status == 200


def own_address() -> str:
    """An address of this host that is not its loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the kernel says from where it would be.
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            pytest.skip("this host has no address but its loopback's")


# --- clients that are up to something -----------------------------------------------------------------------------------


def test_handshakes_that_do_not_come_to_an_end_cost_nobody_his_place(data, files, trust):
    """More connections than there is room for, in all the ways not to finish a handshake: others are served meanwhile."""
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano")
        pid = daemon.daemons()["locum-control"]
        opened = []
        hello = client_hello()
        try:
            for i in range(1100):
                plain = socket.create_connection(address(daemon), timeout=10)
                if i % 3:
                    plain.sendall(hello[: len(hello) // 2] if i % 3 == 1 else hello)
                opened.append(plain)
                if i % 100 == 99:
                    begin = time.monotonic()
                    assert get(daemon.url + "/v1/models", trust)[0] == 200
                    assert time.monotonic() - begin < 5
            assert client(daemon, trust).completions.create(model="nano", prompt="hi", max_tokens=3).choices[0].text
            # Room for 1,024, and no more descriptors than that and what the daemon itself needs.
            assert len(os.listdir(f"/proc/{pid}/fd")) < 1024 + 100
        finally:
            for plain in opened:
                plain.close()
        wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) < 100, 10, "their descriptors are free")


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


def test_nonsense_ends_its_own_connection_only(data, files, trust):
    chance = random.Random(7)
    hello = client_hello()
    with Daemon(data, *files.options, *OPTIONS) as daemon:
        for _ in range(300):
            with socket.create_connection(address(daemon), timeout=5) as plain:
                bent = bytearray(hello)
                for _ in range(chance.randrange(1, 8)):
                    bent[chance.randrange(len(bent))] = chance.randrange(256)
                try:
                    plain.sendall(bytes(bent) + chance.randbytes(chance.randrange(200)))
                    plain.shutdown(socket.SHUT_WR)
                    while plain.recv(4096):
                        pass
                except (ConnectionError, TimeoutError):
                    pass
        assert get(daemon.url + "/health", trust)[0] == 200
        assert daemon.status()["crashes"] == 0
