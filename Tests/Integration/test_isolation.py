"""What a tenant can learn or do of another's by asking for it, with a key of its own: nothing. By names and paths, by keys
and headers, by requests that are not what they seem, by administration. Where an answer might tell something, its bytes are
held against those of an answer that has nothing to tell."""

import subprocess
from urllib.parse import quote

import pytest
from attempts import ABSENT, HIDDEN, box, spec, status, tried  # noqa: F401
from daemon import NANO
from service import Service
from test_systemd import ROW, USER, place, programs, root  # noqa: F401
from wire import Answer, Wire, request

# --- Models by name ---------------------------------------------------------------------------------------------------

FORMS = {
    "as it is": lambda name: name,
    "upper case": str.upper,
    "first letter upper case": str.capitalize,
    "full-width letters": lambda name: name.replace("t", "\uff54"),
    "a letter and a combining accent": lambda name: name.replace("s", "s\u0301"),
    "a typographic hyphen": lambda name: name.replace("-", "\u2010"),
    "a zero-width joiner in it": lambda name: name.replace("-", "\u200d-"),
    "blanks around it": lambda name: f" {name} ",
    "NUL behind it": lambda name: name + "\0",
    "the own model's name before it": lambda name: f"nano/../{name}",
    "a list with the own model's": lambda name: f"nano,{name}",
    "its router": lambda name: name + "/router",
    "an expert of it": lambda name: name + "/L00-E003",
    "a tag": lambda name: name + ":latest",
    "a slash behind it": lambda name: name + "/",
    "percent-encoded in JSON": lambda name: name.replace("-", "%2D"),
}


@pytest.mark.parametrize("form", FORMS)
def test_another_tenants_model_by_its_name(box, form):
    """In each route that takes one: the bytes are those for a model that is not there."""
    daemon, keys = box

    def ask(name: str) -> list[Answer]:
        with Wire(daemon.url) as wire:
            return [
                wire.ask("POST", "/v1/completions", keys["eve"], spec(name)),
                wire.ask("POST", "/v1/completions", keys["eve"], spec(name, stream=True)),
                wire.ask("POST", "/v1/chat/completions", keys["eve"], spec(name, chat=True)),
                wire.ask("GET", "/v1/models/" + quote(name, safe=""), keys["eve"]),
            ]

    there, absent = ask(FORMS[form](HIDDEN)), ask(FORMS[form](ABSENT))
    same = [a.without(HIDDEN, FORMS[form](HIDDEN)) for a in there] == [a.without(ABSENT, FORMS[form](ABSENT)) for a in absent]
    held = same and all(answer.status == 404 and answer.json["error"]["code"] == "model_not_found" for answer in there)
    tried("another's model", form, f"{status(there)}{', as for none' if same else ''}", held)


PATHS = {
    "each byte percent-encoded": lambda name: "/v1/models/" + "".join(f"%{byte:02x}" for byte in name.encode()),
    "percent-encoded twice": lambda name: "/v1/models/" + "".join(f"%25{byte:02x}" for byte in name.encode()),
    "overlong UTF-8": lambda name: "/v1/models/" + name.replace("-", "%C0%AD"),
    "two slashes": lambda name: "/v1//models//" + name,
    "up from the own model": lambda name: "/v1/models/nano/../" + name,
    "up, encoded": lambda name: "/v1/models/nano%2F..%2F" + name,
    "upper-case path": lambda name: "/V1/MODELS/" + name,
    "a parameter in the path": lambda name: f"/v1/models/{name};v=1",
    "a query": lambda name: f"/v1/models/{name}?tenant=ada",
    "absolute form with another's name": lambda name: "http://ada@localhost/v1/models/" + name,
    "the administration's path": lambda name: "/admin/models/" + name,
}


@pytest.mark.parametrize("form", PATHS)
def test_another_tenants_model_by_a_path(box, form):
    daemon, keys = box

    def ask(name: str) -> list[Answer]:
        found = []
        for method in ("GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT"):
            with Wire(daemon.url) as wire:
                found.append(wire.ask(method, PATHS[form](name), keys["eve"]))
        return found

    there, absent = ask(HIDDEN), ask(ABSENT)
    # As the path has it, and decoded once.
    hidden, missing = ([name.replace("-", "%C0%AD"), "".join(f"%{byte:02x}" for byte in name.encode()), name] for name in (HIDDEN, ABSENT))
    same = [a.without(*hidden) for a in there] == [a.without(*missing) for a in absent]
    held = same and all(answer.status in (400, 404, 405) for answer in there)
    tried("another's model, by path", form, f"{status(there)}{', as for none' if same else ''}", held)


BODIES = {
    "two members model": b'{"model": "nano", "model": "%s", "prompt": [5], "max_tokens": 1}',
    "an escaped name": b'{"model": "\\u0074%s", "prompt": [5], "max_tokens": 1}',
    "a list for a name": b'{"model": ["nano", "%s"], "prompt": [5], "max_tokens": 1}',
    "models to fall back on": b'{"model": "absent", "models": ["%s"], "prompt": [5], "max_tokens": 1}',
    "a prompt longer than its own context": b'{"model": "%s", "prompt": [' + b"5," * 600 + b'5], "max_tokens": 1}',
    "a token of its vocabulary alone": b'{"model": "%s", "prompt": [4000], "max_tokens": 1}',
    "more choices than there are places": b'{"model": "%s", "prompt": ["a", "b", "c"], "n": 16, "max_tokens": 1}',
    "a wrong parameter": b'{"model": "%s", "prompt": [5], "max_tokens": -7}',
}


@pytest.mark.parametrize("form", BODIES)
def test_another_tenants_model_by_a_body(box, form):
    """Whatever else is wrong is said, or not, whether the model is there or not."""
    daemon, keys = box

    def ask(name: str) -> Answer:
        part = name[1:] if "escaped" in form else name
        with Wire(daemon.url) as wire:
            return wire.ask("POST", "/v1/completions", keys["eve"], BODIES[form] % part.encode())

    there, absent = ask(HIDDEN), ask(ABSENT)
    same = there.without(HIDDEN) == absent.without(ABSENT)
    tried("another's model, by body", form, f"{there.status}{', as for none' if same else ''}",
          same and there.status in (400, 404))


def test_the_list_of_models(box):
    daemon, keys = box
    seen = set()
    targets = ["/v1/models" + more for more in (
        "", "/", "?tenant=ada", "?owner=ada&all=true", "?limit=1000&after=nano", "?user=ada#ada", "/?key=" + keys["ada"][:14])]
    with Wire(daemon.url) as wire:
        for target in targets:
            answer = wire.ask("GET", target, keys["eve"])
            assert answer.status == 200
            seen |= {entry["id"] for entry in answer.json["data"]}
    tried("the list of models", f"{len(targets)} forms of the request", f"only {', '.join(sorted(seen))}", seen == {"nano"})


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_which_keys_and_tenants_there_are(box):
    """Every refusal has the same bytes, whatever of it is right."""
    daemon, keys = box
    key = keys["ada"]
    revoked = daemon.run("key", "create", "ada").strip()
    daemon.run("key", "revoke", revoked[:14])
    guesses = {
        "what is shown of a key": key[:14], "all but the last letter": key[:-1], "the last letter wrong": key[:-1] + "!",
        "other case": key.swapcase(), "a revoked key": revoked, "a tenant's name": "ada", "no tenant's name": "nobody",
        "its hash's length": "a" * 64, "with a blank": key + " x", "two keys": f"{keys['eve']}, {key[:14]}", "empty text": '""'}
    with Wire(daemon.url) as wire:
        answers = {what: wire.ask("GET", "/v1/models", guess) for what, guess in guesses.items()}
    kinds = {answer.without() for answer in answers.values()}
    tried("which keys there are", f"{len(guesses)} guesses near a key", f"401, {len(kinds)} kind of answer",
          len(kinds) == 1 and {answer.status for answer in answers.values()} == {401})


PLACES = {
    "in the query": lambda key: ("?api_key=" + key + "&key=" + key, ""),
    "in X-API-Key": lambda key: ("", f"X-API-Key: {key}\r\napi-key: {key}\r\n"),
    "by Basic": lambda key: ("", f"Authorization: Basic {key}\r\n"),
    "in a cookie": lambda key: ("", f"Cookie: key={key}; Authorization=Bearer {key}\r\n"),
    "for a proxy": lambda key: ("", f"Proxy-Authorization: Bearer {key}\r\nX-Forwarded-Authorization: Bearer {key}\r\n"),
    "behind a tab": lambda key: ("", f"Authorization: Bearer\t{key}\r\n"),
    "in a folded line": lambda key: ("", f"Authorization: Bearer\r\n {key}\r\n"),
    "twice": lambda key: ("", f"Authorization: Bearer {key}\r\nAuthorization: Bearer {key}\r\n"),
    "behind a wrong one": lambda key: ("", f"Authorization: Bearer wrong\r\nauthorization: Bearer {key}\r\n"),
}


@pytest.mark.parametrize("where", PLACES)
def test_a_key_counts_in_one_place_alone(box, where):
    """Where a proxy that checks keys would not look for it, there is none."""
    daemon, keys = box
    query, headers = PLACES[where](keys["eve"])
    with Wire(daemon.url) as wire:
        wire.send(request("GET", "/v1/models" + query, None, None, headers))
        answers = wire.answers(0.5)
    tried("a key where none is looked for", where, status(answers), [a.status for a in answers] in ([401], [400]))


IMPERSONATIONS = {
    "a proxy's word": "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: ::1\r\nForwarded: for=127.0.0.1;by=unix\r\n",
    "a user's name by a proxy": "X-Forwarded-User: ada\r\nX-Remote-User: ada\r\nX-Auth-Request-User: ada\r\n",
    "OpenAI's organisation": "OpenAI-Organization: ada\r\nOpenAI-Project: ada\r\n",
    "names that Locum might use": "X-Locum-Tenant: ada\r\nX-Tenant: ada\r\nX-Locum-Owner: 0\r\nX-Caller: local\r\n",
    "another path by a proxy": "X-Original-URL: /admin/tenants\r\nX-Rewrite-URL: /admin/tenants\r\nX-Forwarded-Prefix: /admin\r\n",
    "another method": "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n",
    "an upgrade": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
}


@pytest.mark.parametrize("what", IMPERSONATIONS)
def test_headers_that_claim_to_be_somebody(box, what):
    """With a key they change nothing, without one they are none."""
    daemon, keys = box
    with Wire(daemon.url) as wire:
        plain = wire.ask("GET", "/v1/models", keys["eve"])
        claimed = wire.ask("GET", "/v1/models", keys["eve"], headers=IMPERSONATIONS[what])
    with Wire(daemon.url) as wire:
        without = wire.ask("GET", "/v1/models", headers=IMPERSONATIONS[what])
    same = claimed.without() == plain.without()
    tried("to be somebody else", what, f"{claimed.status}{', as without it' if same else ''}; no key: {without.status}",
          same and without.status == 401)


HOSTS = {
    "another name": "Host: admin.sock\r\n", "no name": "", "two names": "Host: localhost\r\nHost: evil.example\r\n",
    "a page's origin": "Host: localhost\r\nOrigin: http://evil.example\r\n", "a user in it": "Host: ada@localhost\r\n",
    "a path in it": "Host: localhost/admin\r\n"}


@pytest.mark.parametrize("what", HOSTS)
def test_names_of_hosts(box, what):
    daemon, keys = box
    with Wire(daemon.url) as wire:
        wire.send(f"GET /v1/models HTTP/1.1\r\n{HOSTS[what]}Authorization: Bearer {keys['eve']}\r\n\r\n".encode())
        answers = wire.answers(0.5)
    tried("a Host or Origin of its own", what, status(answers), [a.status for a in answers] in ([400], [403]))


# --- Several requests on a connection ---------------------------------------------------------------------------------


def test_each_request_of_a_connection_has_its_own_key(box):
    """As a proxy sends requests of several tenants: one behind the other, before the answers."""
    daemon, keys = box
    order = ["ada", "eve", None, "eve", "ada", None, "eve"]
    with Wire(daemon.url) as wire:
        wire.send(b"".join(request("GET", "/v1/models", keys.get(name)) for name in order))
        answers = [wire.read() for _ in order]
    seen = [sorted(entry["id"] for entry in a.json["data"]) if a and a.status == 200 else a and a.status for a in answers]
    expected = {"ada": ["nano", HIDDEN], "eve": ["nano"], None: 401}
    tried("another's key on the connection", "seven requests at once, three callers", "each as its own key says",
          seen == [expected[name] for name in order])


SMUGGLED = {
    "a length and chunks": "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{next}",
    "chunks and a length": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{next}",
    "two lengths": "Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{next}",
    "a list of lengths": "Content-Length: 0, {length}\r\n\r\n{next}",
    "a signed length": "Content-Length: +0\r\n\r\n{next}",
    "a length that overflows": "Content-Length: 18446744073709551616\r\n\r\n{next}",
    "a hexadecimal length": "Content-Length: 0x0\r\n\r\n{next}",
    "a blank before the colon": "Content-Length: {length}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{next}",
    "an unknown encoding": "Content-Length: {length}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{next}",
    "chunks not last": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{next}",
    "two encodings": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{next}",
    "a folded encoding": "Content-Length: {length}\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{next}",
    "a vertical tab": "Content-Length: {length}\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{next}",
    "a chunk that overflows": "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n0\r\n\r\n{next}",
    "a chunk of less than nothing": "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n{next}",
    "lines ended by CR alone": "X-A: b\rContent-Length: 0\r\r{next}",
    "a key in a trailer": "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer {other}\r\n\r\n",
    "a body that is a request": "Content-Length: {length}\r\n\r\n{next}",
}


@pytest.mark.parametrize("how", SMUGGLED)
def test_a_request_hidden_in_another(box, how):
    """A proxy that reads it otherwise than Locum would give the second answer to the next client: there is none."""
    daemon, keys = box
    hidden = request("GET", "/v1/models/nano", keys["eve"]).decode()
    tail = SMUGGLED[how].replace("{length}", str(len(hidden) + 5 * ("0\r\n\r\n" in SMUGGLED[how])))
    # The first one has no key where it is to get that of the trailer.
    key = "" if "{other}" in tail else f"Authorization: Bearer {keys['eve']}\r\n"
    tail = tail.replace("{next}", hidden).replace("{other}", keys["eve"])
    with Wire(daemon.url) as wire:
        wire.send(f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{key}{tail}".encode())
        answers = wire.answers(0.5)
    held = not any(a.status == 200 and a.json.get("id") == "nano" for a in answers) and (bool(key) or status(answers) in ("400", "401"))
    tried("a request hidden in another", how, status(answers), held)


# --- Administration ---------------------------------------------------------------------------------------------------

ADMIN = [
    "/admin/tenants", "/admin/tenants/ada", "/admin/tenants/ada/keys", "/admin/keys", "/admin/models", "/admin/instances",
    "/admin/status", "/admin/backup", "/admin/verify", "/admin/evict", "/admin/usage", "/admin/events", "/metrics",
    "/v1/usage", "/v1/organization/admin_api_keys", "/v1/fine_tuning/jobs", "/v1/files", "/debug/pprof", "/invoke",
    "/v1/functions/tales-moe/L00-E003"]
DISGUISES = {
    "as it is": "{}", "upper case": "{upper}", "percent-encoded": "{encoded}", "two slashes": "/{}", "up from the API": "/v1/..{}",
    "up from health": "/health/..{}", "a query of health": "{}?/health", "absolute form": "http://localhost{}"}


@pytest.mark.parametrize("how", DISGUISES)
def test_administration_over_http(box, how):
    daemon, keys = box

    def tenants() -> list:
        return [(tenant["name"], tenant["limits"], len(tenant["keys"])) for tenant in daemon.json("tenant", "list")]

    before, found = tenants(), {}
    for path in ADMIN:
        encoded = "/" + "".join(f"%{byte:02x}" for byte in path[1:].encode())
        target = DISGUISES[how].format(path, upper=path.upper(), encoded=encoded)
        for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
            with Wire(daemon.url) as wire:
                answer = wire.ask(method, target, keys["eve"], None if method == "GET" else {"name": "mallory", "weight": 9})
            found[answer.status] = found.get(answer.status, 0) + 1
    assert tenants() == before
    tried("administration", f"{how}, {len(ADMIN)} paths, five methods", str(dict(sorted(found.items()))), set(found) <= {400, 404, 405})


KNOCK = """
import socket, sys
path, key = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(path)
    s.sendall(f"GET /admin/tenants HTTP/1.1\\r\\nHost: locum\\r\\nAuthorization: Bearer {key}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(b"".join(iter(lambda: s.recv(65536), b"")).split(b"\\r\\n")[0].decode())
except PermissionError:
    print("permission denied")
"""


@root
def test_the_sockets_with_a_tenants_key(place, programs):  # noqa: F811
    """A tenant has an account on the box, too: a key opens no socket, even where somebody loosened its mode."""
    stranger = 12348
    with Service(place, "threads: 2\n", user=USER, bin=programs) as service:
        assert service.cli("deploy", str(NANO / "qwen2moe"), "--name", "nano").returncode == 0
        assert service.cli("tenant", "create", "eve").returncode == 0
        key = service.cli("key", "create", "eve").stdout.strip()

        def knock() -> str:
            return subprocess.run(
                ["python3", "-c", KNOCK, str(service.run / "admin.sock"), key], user=stranger, group=stranger, extra_groups=[],
                capture_output=True, text=True, timeout=30, cwd="/").stdout.strip()

        def invoke():
            return service.cli("invoke", "nano/L00-E003", user=stranger, input=ROW)

        tried("the administration's socket", "as another user, with a key", knock(), knock() == "permission denied")
        done = invoke()
        tried("functions by invoke.sock", "as another user", f"exit code {done.returncode}", done.returncode == 4 and not done.stdout)
        for name in ("admin", "invoke"):
            (service.run / f"{name}.sock").chmod(0o666)
        tried("the administration's socket", "the same, its mode loosened", knock(), "403" in knock())
        done = invoke()
        tried("functions by invoke.sock", "the same, its mode loosened", done.stderr.strip()[:60],
              done.returncode == 1 and "may not invoke" in done.stderr and not done.stdout)
