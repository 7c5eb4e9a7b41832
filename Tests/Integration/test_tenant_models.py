"""Models that belong to tenants: whose a name is, who may use what, and that nobody learns of another's."""

import json

import openai
import pytest
from attempts import status, tenant
from daemon import NANO, Daemon, Failed
from wire import Wire

OPTIONS = ("--idle-timeout", "60s", "--threads", "2")
GROUPS = ("--experts-per-function", "all")
SMALL = NANO / "qwen2moe"
#: Another model of the same shape: its answers are others.
OTHER = NANO / "mixtral"


def client(daemon: Daemon, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key=key, max_retries=0)


def say(daemon: Daemon, key: str, model: str = "chat") -> str:
    answer = client(daemon, key).completions.create(model=model, prompt=[5, 6, 7], max_tokens=8, temperature=0)
    assert answer.model == model
    return answer.choices[0].text


def names(daemon: Daemon, key: str) -> set[str]:
    return {model.id for model in client(daemon, key).models.list()}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """`chat` of the operator, of ada and of eve, who may use the operator's as well; bob may use nothing but ada's."""
    with Daemon(tmp_path_factory.mktemp("models") / "data", *OPTIONS) as daemon:
        daemon.deploy(SMALL, "--name", "chat", *GROUPS)
        keys = {"ada": tenant(daemon, "ada"), "eve": tenant(daemon, "eve"), "bob": tenant(daemon, "bob", "--model", "chat@ada")}
        daemon.deploy(OTHER, "--name", "chat", "--tenant", "ada", *GROUPS)
        daemon.deploy(SMALL, "--name", "chat", "--tenant", "eve", "--context", "64", *GROUPS)
        daemon.deploy(OTHER, "--name", "secret", "--tenant", "ada", *GROUPS)
        yield daemon, keys


def test_a_name_means_the_tenants_own_model_first(box):
    daemon, keys = box
    assert {model["name"] for model in daemon.json("list")} == {"chat", "chat@ada", "chat@eve", "secret@ada"}
    assert names(daemon, keys["ada"]) == {"chat", "secret"} and names(daemon, keys["eve"]) == {"chat"}
    assert names(daemon, keys["bob"]) == {"chat@ada"}
    # Two models behind one name, and bob's answer is that of ada's.
    ada, eve = say(daemon, keys["ada"]), say(daemon, keys["eve"])
    assert ada != eve and say(daemon, keys["bob"], "chat@ada") == ada == say(daemon, keys["ada"], "chat@ada")
    # Whose it was is in the account.
    assert {row["model"] for row in daemon.json("usage", "--tenant", "ada")} == {"chat@ada"}
    functions = {row["function"].split("/")[0] for row in daemon.ps()}
    assert functions == {"chat@ada", "chat@eve"}


def test_describe_tells_the_owner_and_who_may_use_it(box):
    daemon, _ = box
    told = daemon.json("describe", "chat@ada")
    assert told["owner"] == "ada" and told["users"] == ["ada", "bob"]
    assert "owner          tenant ada\n" in daemon.run("describe", "chat@ada")
    told = daemon.json("describe", "chat")
    assert "owner" not in told and told["users"] == ["ada", "eve"]


FORMS = ["chat@ada", "secret@ada", "secret", "secret@eve", "chat@ada@eve", "chat@", "@ada", "chat@ada/router", "CHAT@ADA", "chat%40ada",
         "chat@ada\0", "chat @ada"]


@pytest.mark.parametrize("form", FORMS)
def test_another_tenants_model_is_one_that_is_not_there(box, form):
    """By its full name, by the short one, by what resembles it: the bytes are those for a model that nobody has."""
    daemon, keys = box
    absent = form.replace("chat", "quux").replace("CHAT", "QUUX").replace("secret", "absent")

    def ask(name: str):
        body = {"model": name, "prompt": [5], "max_tokens": 1}
        with Wire(daemon.url) as wire:
            return [wire.ask("POST", "/v1/completions", keys["eve"], body),
                    wire.ask("POST", "/v1/completions", keys["eve"], {**body, "stream": True})]

    there, missing = ask(form), ask(absent)
    # As JSON has them.
    shown, other = json.dumps(form)[1:-1], json.dumps(absent)[1:-1]
    assert [a.without(shown) for a in there] == [a.without(other) for a in missing], status(there)
    assert {a.status for a in there} == {404} and there[0].json["error"]["code"] == "model_not_found"


def test_a_tenant_stays_as_long_as_its_models(box):
    daemon, keys = box
    key = tenant(daemon, "cyd")
    daemon.deploy(SMALL, "--name", "chat", "--tenant", "cyd", *GROUPS)
    before = daemon.json("describe", "chat")["functions"]
    assert say(daemon, key)
    with pytest.raises(Failed, match=r"tenant cyd has models \(chat@cyd\)"):
        daemon.run("tenant", "rm", "cyd")
    assert say(daemon, key)
    daemon.run("tenant", "rm", "cyd", "--models")
    assert "chat@cyd" not in {model["name"] for model in daemon.json("list")}
    # The operator's model has the same bytes, and keeps them.
    assert daemon.json("describe", "chat")["functions"] == before
    assert daemon.json("verify")["damaged"] == []
    # Who comes later under this name finds nothing.
    assert names(daemon, tenant(daemon, "cyd")) == {"chat"}
    daemon.run("tenant", "rm", "cyd")


def test_a_model_of_nobody_and_a_name_that_is_none(box):
    daemon, _ = box
    with pytest.raises(Failed, match="no tenant nobody"):
        daemon.deploy(SMALL, "--name", "chat", "--tenant", "nobody", *GROUPS)
    with pytest.raises(Failed) as wrong:
        daemon.deploy(SMALL, "--name", "chat@ada", *GROUPS)
    assert wrong.value.code == 64
    with pytest.raises(Failed, match="cannot be named 'chat@A'"):
        daemon.deploy(SMALL, "--name", "chat", "--tenant", "A", *GROUPS)


def test_the_same_bytes_lie_on_the_disk_once(box):
    """Those of the operator and of tenants; and a router of eve's own is hers of her model."""
    daemon, keys = box
    shards = {path.name for path in (daemon.data / "shards").iterdir()}
    named = {f["digest"] for m in daemon.json("list") for f in daemon.json("describe", m["name"])["functions"]}
    assert shards == named
    chat, eve = (daemon.json("describe", name)["functions"][1:] for name in ("chat", "chat@eve"))
    assert [f["digest"] for f in chat] == [f["digest"] for f in eve]
    first = say(daemon, keys["eve"])
    daemon.run("tenant", "set", "eve", "--router", "private")
    assert say(daemon, keys["eve"]) == first
    assert "chat@eve/router@eve" in {row["function"] for row in daemon.ps()}
    daemon.run("tenant", "set", "eve", "--router", "shared")


def test_backup_restore_and_manifests(box, tmp_path):
    daemon, keys = box
    file = tmp_path / "all.tar"
    daemon.json("backup", str(file))
    right = say(daemon, keys["ada"])
    with Daemon(tmp_path / "data", *OPTIONS) as other:
        with pytest.raises(Failed, match="models of tenants that are not here: ada, eve"):
            other.run("restore", str(file))
        assert other.json("list") == []
        other.run("restore", str(file), "chat")
        other.run("restore", str(file), "--tenants")
        assert {m["name"] for m in other.json("list")} == {m["name"] for m in daemon.json("list")}
        assert say(other, keys["ada"]) == right
        # A manifest says whose models are; what it does not name goes, a tenant with its models.
        site = tmp_path / "site.yaml"
        site.write_text(
            f"models:\n  - {{name: chat, file: {SMALL}, tenant: fay, experts-per-function: all}}\n"
            f"  - {{name: chat, file: {SMALL}, experts-per-function: all}}\ntenants:\n  - name: fay\n")
        dry = other.run("apply", "-f", str(site), "--prune", "--dry-run")
        assert "+ model chat@fay" in dry and "- tenant ada\n" in dry and "- model secret@ada\n" in dry
        assert {m["name"] for m in other.json("list")} == {m["name"] for m in daemon.json("list")}
        done = other.run("apply", "-f", str(site), "--prune")
        assert dry.splitlines()[:-1] == done.splitlines()[:-1]
        assert {m["name"] for m in other.json("list")} == {"chat", "chat@fay"}
        assert [t["name"] for t in other.json("tenant", "list")] == ["fay"]
        assert "nothing to change" in other.run("apply", "-f", str(site), "--prune")
        site.write_text(f"models:\n  - {{name: chat, file: {SMALL}, tenant: gil}}\n")
        with pytest.raises(Failed, match=r"site.yaml:2: models\[0\].tenant: gil cannot own a model"):
            other.run("apply", "-f", str(site))
        assert json.dumps(other.json("list")).count("gil") == 0
