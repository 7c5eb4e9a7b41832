"""`locum apply`: models and tenants as a manifest says, twice the same, and nothing where the manifest is wrong."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest
from daemon import BIN, NANO, TALES, Daemon, Failed

SITE = """\
models:
  - name: nano
    file: nano-model
    experts-per-function: 2
    kv-type: f32
  - name: tales-moe
    file: tales-moe
tenants:
  - name: ada
    weight: 3
  - name: bob
    priority: batch
    max-requests: 2
    tokens-per-minute: 6000
    models: [nano]
"""


@pytest.fixture
def site(tmp_path):
    """A manifest, and beside it the model that it names."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copytree(NANO / "qwen2moe", folder / "nano-model")
    path = folder / "site.yaml"
    path.write_text(SITE)
    return path


def state(daemon: Daemon) -> tuple:
    """All that apply could change."""
    models = [daemon.json("describe", model["name"]) for model in daemon.json("list")]
    kept = ("name", "revision", "options", "functions", "deployed_at")
    tenants = [{k: t[k] for k in ("name", "limits", "created_at", "keys")} for t in daemon.json("tenant", "list")]
    shards = sorted(path.name for path in (daemon.data / "shards").rglob("*") if path.is_file())
    functions = [[{k: f[k] for k in ("name", "digest")} for f in m["functions"]] for m in models]
    return [{k: m[k] for k in kept if k != "functions"} for m in models], functions, tenants, shards


def refused(daemon: Daemon, *words: str, **more) -> Failed:
    with pytest.raises(Failed) as failed:
        daemon.run("apply", *words, **more)
    return failed.value


def test_a_manifest_is_applied_and_a_second_time_changes_nothing(daemon, site):
    planned = daemon.run("apply", "-f", str(site), "--dry-run")
    lines = [
        "+ model nano: experts-per-function 2, kv-type f32, 33 functions",
        "+ model tales-moe: ",
        "+ tenant ada: weight 3",
        "+ tenant bob: priority batch, max-requests 2, tokens-per-minute 6000, models [nano]",
        "would add 4, change 0 and remove 0; nothing was changed",
    ]
    assert [line[:len(want)] for line, want in zip(planned.splitlines(), lines, strict=True)] == lines, planned
    assert state(daemon) == ([], [], [], [])
    applied = daemon.run("apply", "-f", str(site))
    assert applied.splitlines()[:-1] == planned.splitlines()[:-1]
    assert applied.splitlines()[-1] == "added 4, changed 0, removed 0"
    before = state(daemon)
    assert [m["name"] for m in before[0]] == ["nano", "tales-moe"] and len(before[2]) == 2
    assert before[0][0]["options"] == {
        "experts_per_function": 2, "layers_per_function": 1, "quantize": "", "context": 0, "kv_type": "f32"}
    # It serves, to whom it says.
    key = daemon.run("key", "create", "bob").strip()
    request = urllib.request.Request(daemon.url + "/v1/models", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert [m["id"] for m in json.load(answer)["data"]] == ["nano"]
    before = state(daemon)
    for words in ([], ["--dry-run"], ["--prune"], ["--prune", "--dry-run"]):
        assert daemon.run("apply", "-f", str(site), *words) == "nothing to change\n"
        assert daemon.json("apply", "-f", str(site), *words) == []
        assert state(daemon) == before


def test_only_what_differs_changes_and_the_dry_run_says_the_same(daemon, site):
    daemon.run("apply", "-f", str(site))
    key = daemon.run("key", "create", "ada").strip()
    # Options, one weight, limits; bob's limits that are left out are the defaults again.
    site.write_text(SITE.replace("kv-type: f32", "kv-type: f16").replace("weight: 3", "weight: 1\n    queue: 5")
                    .replace("    tokens-per-minute: 6000\n    models: [nano]\n", ""))
    before = state(daemon)
    wanted = [
        {"action": "change", "kind": "model", "name": "nano", "fields": [{"name": "kv-type", "from": "f32", "to": "f16"}], "functions": 1},
        {"action": "change", "kind": "tenant", "name": "ada",
         "fields": [{"name": "weight", "from": "3", "to": "1"}, {"name": "queue", "from": "64", "to": "5"}]},
        {"action": "change", "kind": "tenant", "name": "bob",
         "fields": [{"name": "tokens-per-minute", "from": "6000", "to": "unlimited"}, {"name": "models", "from": "[nano]", "to": "all"}]},
    ]
    assert daemon.json("apply", "-f", str(site), "--dry-run") == wanted
    assert state(daemon) == before
    assert daemon.json("apply", "-f", str(site)) == wanted
    after = state(daemon)
    assert after[0][0]["revision"] == 2 and after[0][0]["options"]["kv_type"] == "f16"
    assert after[0][1] == before[0][1], "tales-moe is as it was"
    tenants = {t["name"]: t for t in daemon.json("tenant", "list")}
    assert (tenants["ada"]["limits"]["weight"], tenants["ada"]["limits"]["queue"]) == (1, 5)
    assert "tokens_per_minute" not in tenants["bob"]["limits"] and "models" not in tenants["bob"]["limits"]
    # Keys stay.
    request = urllib.request.Request(daemon.url + "/v1/models", headers={"Authorization": f"Bearer {key}"})
    assert urllib.request.urlopen(request, timeout=20).status == 200
    assert daemon.run("apply", "-f", str(site)) == "nothing to change\n"


def test_a_weight_that_changed_is_found_without_anything_being_written(daemon, site):
    import numpy as np
    from safetensors.numpy import load_file, save_file

    daemon.run("apply", "-f", str(site))
    before = state(daemon)
    path = site.parent / "nano-model/model.safetensors"
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if ".experts.0." in name)
    tensors[name] = np.array(tensors[name])
    tensors[name].flat[0] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    line = "~ model nano: 1 function\n"
    assert daemon.run("apply", "-f", str(site), "--dry-run").startswith(line)
    assert state(daemon) == before
    assert daemon.run("apply", "-f", str(site)).startswith(line)
    after = state(daemon)
    assert sum(a != b for a, b in zip(before[1][0], after[1][0], strict=True)) == 1
    assert daemon.run("apply", "-f", str(site)) == "nothing to change\n"


def test_prune_removes_what_is_not_named_and_leaves_sections_that_are_not_there(daemon, site):
    daemon.run("apply", "-f", str(site))
    before = state(daemon)
    site.write_text("tenants:\n  - {name: ada, weight: 3}\nmodels: []\n")
    assert daemon.run("apply", "-f", str(site)) == "nothing to change\n"
    assert state(daemon) == before, "without --prune nothing goes"
    said = daemon.run("apply", "-f", str(site), "--prune", "--dry-run")
    assert said == "- tenant bob\nwould add 0, change 0 and remove 1; nothing was changed\n"
    assert state(daemon) == before
    assert daemon.run("apply", "-f", str(site), "--prune") == "- tenant bob\nadded 0, changed 0, removed 1\n"
    assert [t["name"] for t in daemon.json("tenant", "list")] == ["ada"]
    assert len(daemon.json("list")) == 2, "no model was named, so none went"
    site.write_text("models:\n  - {name: tales-moe, file: tales-moe}\n")
    assert daemon.run("apply", "-f", str(site), "--prune") == "- model nano\nadded 0, changed 0, removed 1\n"
    assert [m["name"] for m in daemon.json("list")] == ["tales-moe"] and len(daemon.json("tenant", "list")) == 1


@pytest.mark.parametrize("text, reasons", [
    (SITE.replace("weight: 3", "weight: 0").replace("kv-type: f32", "kv-type: f31"),
     ["site.yaml:5: models[0].kv-type: 'f31' cannot be used", "site.yaml:10: tenants[0].weight: '0' cannot be used"]),
    (SITE.replace("file: nano-model", "file: not-there").replace("file: tales-moe", "file: nor-this"),
     ["site.yaml:2: models[0].file: cannot open", "site.yaml:6: models[1].file: cannot open"]),
    (SITE.replace("name: bob", "name: ada"), ["site.yaml:11: name: the tenant ada stands in line 9 already"]),
    (SITE + "  - [\n", ["this is no YAML"]),
    (SITE + "---\n" + SITE, ["holds a second document"]),
    ("", ["is empty; name models or tenants in it"]),
])
def test_a_broken_manifest_changes_nothing_and_names_line_and_field(daemon, site, text, reasons):
    daemon.run("tenant", "create", "eve")
    before = state(daemon)
    site.write_text(text)
    for words in (["--prune"], ["--dry-run"]):
        failed = refused(daemon, "-f", str(site), *words)
        assert failed.code == 1 and not failed.out
        for reason in reasons:
            assert reason in failed.err, failed.err
        assert state(daemon) == before


def test_standard_input_names_that_are_relative_and_exit_codes(daemon, site, tmp_path):
    # From standard input names are relative to where the command runs.
    assert daemon.run("apply", "-f", "-", input=SITE, cwd=site.parent).endswith("added 4, changed 0, removed 0\n")
    failed = refused(daemon, "-f", "-", input="tenants: [{name: x, wieght: 1}]\n")
    assert failed.code == 1 and "standard input:1: tenants[0].wieght: there is no such field" in failed.err
    failed = refused(daemon, "-f", str(tmp_path / "none.yaml"))
    assert failed.code == 1 and "the manifest cannot be read: open" in failed.err
    done = subprocess.run([str(BIN / "locum"), "apply"], capture_output=True, text=True)
    assert done.returncode == 64
    done = subprocess.run(
        [str(BIN / "locum"), "apply", "-f", str(site), "--data", str(tmp_path / "nobody")], capture_output=True, text=True)
    assert done.returncode == 4 and "no Locum daemon answers" in done.stderr


def test_what_a_step_cannot_do_is_said_and_the_rest_goes_on_from_there(daemon, site):
    """A model that is none is seen by the import only; what was done before it stands, and nothing of it does."""
    bad = site.parent / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    site.write_text(SITE.replace("file: tales-moe", "file: bad.gguf"))
    for words in (["--dry-run"], []):
        failed = refused(daemon, "-f", str(site), *words)
        assert failed.code == 1 and "bad.gguf" in failed.err, failed.err
    assert [m["name"] for m in daemon.json("list")] == ["nano"] and daemon.json("tenant", "list") == []
    site.write_text(SITE)
    assert daemon.run("apply", "-f", str(site)).splitlines()[-1] == "added 3, changed 0, removed 0"


def test_a_dry_run_refuses_what_would_not_fit(data, site):
    with Daemon(data, "--memory", "100M", "--threads", "2") as daemon:
        site.write_text(f"models:\n  - {{name: big, file: {TALES}, context: 100000}}\n")
        for words in (["--dry-run"], []):
            failed = refused(daemon, "-f", str(site), *words)
            assert failed.code == 1, failed.err
        assert daemon.json("list") == [] and not [p for p in (data / "shards").rglob("*") if p.is_file()]
