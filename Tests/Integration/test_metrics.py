"""What Prometheus is told, judged by promtool and by a real Prometheus: names and form, the alert rules, the board."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemon import NANO, ROOT, TALES, Daemon, wait_for

RULES = ROOT / "Deploy/prometheus/locum.rules.yml"
BOARD = ROOT / "Deploy/grafana/locum.json"


def program(name: str) -> str:
    """Of Debian's package: installed, or as the Makefile unpacks it."""
    found = shutil.which(name) or shutil.which(name, path=str(ROOT / "build/prometheus/usr/bin"))
    if not found:
        pytest.skip(f"{name} is missing: `apt-get install prometheus`, or `make build/prometheus/.done`")
    return found


def promtool(*arguments: str, **more) -> str:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """Two models, a tenant that is held to one sequence at once, and a key for metrics: the daemon and its keys."""
    with Daemon(tmp_path_factory.mktemp("metrics") / "data", "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales-moe")
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        daemon.run("tenant", "create", "ada")
        daemon.run("tenant", "create", "held", "--max-requests", "1", "--queue", "0")
        keys = {name: daemon.run("key", "create", name).strip() for name in ("ada", "held", "--metrics", "--admin")}
        yield daemon, {name.removeprefix("--"): key for name, key in keys.items()}


def get(daemon: Daemon, path: str, key: str | None, body: dict | None = None) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(daemon.url + path, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def complete(daemon: Daemon, key: str, model: str = "nano", tokens: int = 4) -> int:
    body = {"model": model, "prompt": [5, 6, 7], "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    return get(daemon, "/v1/completions", key, body)[0]


def scrape(daemon: Daemon, key: str) -> dict[str, float]:
    """Samples by name and labels, as they stand."""
    status, text = get(daemon, "/metrics", key)
    assert status == 200
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_who_may_read_it(box, data):
    daemon, keys = box
    for key in ("metrics", "admin"):
        assert get(daemon, "/metrics", keys[key])[0] == 200
    assert get(daemon, "/metrics", None)[0] == 401 and get(daemon, "/metrics", "x")[0] == 401
    # To a tenant it is a path like any that is not there.
    status, body = get(daemon, "/metrics", keys["ada"])
    assert (status, body.replace("/metrics", "/x")) == get(daemon, "/x", keys["ada"])
    assert get(daemon, "/v1/models", keys["metrics"])[0] == 401
    with Daemon(data, "--threads", "2") as other:
        assert get(other, "/metrics", None)[0] == 200
        assert "locum_build_info{version=" in get(other, "/metrics", None)[1]


def test_promtool_finds_nothing_to_say(box):
    daemon, keys = box
    assert complete(daemon, keys["ada"]) == 200
    status, text = get(daemon, "/metrics", keys["metrics"])
    assert status == 200 and promtool("check", "metrics", input=text) == ""
    assert all(key not in text for key in keys.values())


def test_the_counts_are_those_of_what_was_asked(box):
    daemon, keys = box
    assert complete(daemon, keys["ada"]) == 200
    before = scrape(daemon, keys["metrics"])
    for _ in range(3):
        assert complete(daemon, keys["ada"], tokens=5) == 200
    assert complete(daemon, keys["ada"], "not-there") == 404 and complete(daemon, "nobodys") == 401
    after = scrape(daemon, keys["metrics"])

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    of = '{tenant="ada",model="nano"}'
    assert grown(f"locum_prompt_tokens_total{of}") == 9 and grown(f"locum_output_tokens_total{of}") == 15
    assert grown('locum_requests_total{code="2xx",tenant="ada"}') == 3
    assert grown('locum_requests_total{code="4xx",tenant="ada"}') == 1
    assert grown('locum_keys_refused_total{reason="wrong"}') == 1
    assert grown('locum_first_token_seconds_count{model="nano"}') == 3
    assert grown('locum_output_token_seconds_count{model="nano"}') == 12
    assert 0 < grown('locum_first_token_seconds_sum{model="nano"}') < 60
    assert grown("locum_invocations_total") > 0
    status = daemon.status()
    assert after["locum_cold_starts_total"] == status["cold_starts"] > 0
    assert after["locum_memory_budget_bytes"] == status["memory"]["budget_bytes"] > 0
    assert after['locum_instances{runtime="router",state="ready"}'] == 1
    assert sum(value for name, value in after.items() if name.startswith("locum_instances{")) == status["instances"]
    assert after['locum_cold_start_seconds_count{runtime="expert"}'] > 0
    assert not any("not-there" in name for name in after)


def test_a_node_that_hangs_is_not_waited_for(box):
    daemon, keys = box
    assert complete(daemon, keys["ada"]) == 200

    def answered() -> dict[str, float] | None:
        found = scrape(daemon, keys["metrics"])
        return found if found["locum_node_up"] == 1 else None

    before = wait_for(answered, 20, "a node that answers")
    node = daemon.daemons()["locum-node"]
    os.kill(node, signal.SIGSTOP)
    try:
        hanging = scrape(daemon, keys["metrics"])
    finally:
        os.kill(node, signal.SIGCONT)
    assert hanging["locum_node_up"] == 0
    assert hanging["locum_invocations_total"] >= before["locum_invocations_total"] > 0
    wait_for(answered, 20, "the node's answers again")


def test_every_metric_of_the_rules_and_the_board_is_there(box):
    daemon, keys = box
    text = get(daemon, "/metrics", keys["metrics"])[1]
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    exported = {name for name, kind in kinds.items() if kind != "histogram"}
    exported |= {name + part for name, kind in kinds.items() if kind == "histogram" for part in ("_bucket", "_sum", "_count")}
    board = json.loads(BOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [variable["query"] for variable in board["templating"]["list"]]
    for source in (RULES.read_text(), "\n".join(asked)):
        named = set(re.findall(r"\blocum_[a-z_]+", source))
        assert named and named <= exported, named - exported
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 10


def test_rules_and_configuration(tmp_path):
    assert "SUCCESS: 7 rules" in promtool("check", "rules", str(RULES))
    text = (ROOT / "Deploy/prometheus/prometheus.yml").read_text()
    key = tmp_path / "locum.key"
    key.write_text("locum-x\n")
    for installed, here in (("/usr/share/locum/prometheus/locum.rules.yml", RULES), ("/etc/prometheus/locum.key", key)):
        assert installed in text
        text = text.replace(installed, str(here))
    (tmp_path / "prometheus.yml").write_text(text)
    assert "SUCCESS" in promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_each_rule_fires_when_it_should_and_not_before(tmp_path):
    """In promtool's simulated time, so with the times that the rules have."""
    where = {"instance": "box:8420", "job": "locum"}

    def series(name: str, values: str, **labels) -> dict:
        labels = {**where, **labels}
        return {"series": name + "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}", "values": values}

    def buckets(runtime: str, fast: int, slow: int) -> list[dict]:
        """So many starts a minute within a quarter of a second, and so many within a minute."""
        return [
            series("locum_cold_start_seconds_bucket", f"0+{count}x40", runtime=runtime, le=bound)
            for bound, count in (("0.25", fast), ("30", fast), ("60", fast + slow), ("+Inf", fast + slow))]

    good = [
        series("up", "1x40"), series("locum_node_up", "1x40"), series("locum_functions_paused", "0x40"),
        series("locum_crashes_total", "0x10 1x30"), series("locum_memory_used_bytes", "99x40"),
        series("locum_memory_budget_bytes", "100x40"), series("locum_evictions_total", "0+10x40"),
        series("locum_requests_total", "0+100x40", code="2xx"),
        series("locum_requests_refused_total", "0+1x40", reason="queue_full"),
        *buckets("expert", 100, 0), *buckets("router", 100, 0),
    ]
    bad = {
        "LocumNotScraped": ([series("up", "0x40")], 2),
        "LocumNodeGone": ([series("locum_node_up", "0x40")], 1),
        "LocumCrashLoop": ([series("locum_functions_paused", "2x40")], 1),
        "LocumCrashes": ([series("locum_crashes_total", "0+1x40")], None),
        "LocumMemoryPressure": ([series("locum_evictions_total", "0+120x40")], 10),
        "LocumRequestsRefused": ([series("locum_requests_refused_total", "0+20x40", reason="queue_full")], 5),
        "LocumColdStartsSlow": (buckets("expert", 100, 20), 10),
    }

    def replaced(worse: list[dict]) -> list[dict]:
        names = {one["series"] for one in worse}
        return [one for one in good if one["series"] not in names] + worse

    def expect(series: list[dict], minutes: int, alert: str, fires: bool) -> dict:
        shown = {"evaluation_interval": "1m", "rule_files": [str(RULES)], "tests": [
            {"interval": "1m", "input_series": series,
             "promql_expr_test": [{"eval_time": f"{minutes}m", "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                                   "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}]}]}
        file = tmp_path / "test.yml"
        file.write_text(json.dumps(shown))
        promtool("test", "rules", str(file))

    for alert, (worse, pause) in bad.items():
        expect(good, 30, alert, False)
        expect(replaced(worse), 30, alert, True)
        if pause:
            # What holds shorter than the rule's `for` is nobody's business.
            expect(replaced(worse), pause - 1, alert, False)


class Prometheus:
    """A real one on a free port of the loopback, which reads Locum every second."""

    def __init__(self, folder: Path, target: str, key: str):
        # Two settings differ from those that are installed: how often is looked, and `for`, for a test does not wait ten
        # minutes. That each rule also waits as long as it says is tested above, in simulated time.
        rules = re.sub(r"\n +for: \w+", "", RULES.read_text())
        (folder / "rules.yml").write_text(rules)
        (folder / "key").write_text(key + "\n")
        (folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": [{
                "job_name": "locum", "authorization": {"credentials_file": str(folder / "key")},
                "static_configs": [{"targets": [target]}]}]}))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address={self.url.removeprefix('http://')}"],
            stdout=self.log, stderr=self.log, env={**os.environ, "GOMAXPROCS": "1"})

    def __enter__(self):
        wait_for(lambda: self.get("/-/ready") is not None, 30, "Prometheus is ready")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.log.close()

    def get(self, path: str):
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.read()
        except OSError:
            return None

    def query(self, expression: str) -> list[float]:
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        return [float(row["value"][1]) for row in json.loads(self.get(path))["data"]["result"]]

    def firing(self) -> set[str]:
        alerts = json.loads(self.get("/api/v1/alerts"))["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def test_a_real_prometheus_reads_it_and_its_alerts_fire(box, tmp_path):
    daemon, keys = box
    assert complete(daemon, keys["ada"]) == 200
    with Prometheus(tmp_path, daemon.url.removeprefix("http://"), keys["metrics"]) as prometheus:
        wait_for(lambda: prometheus.query('up{job="locum"}') == [1], 30, "a scrape")
        targets = json.loads(prometheus.get("/api/v1/targets"))["data"]["activeTargets"]
        assert [target["health"] for target in targets] == ["up"], targets
        wait_for(lambda: prometheus.query("count_over_time(locum_crashes_total[1m])") >= [3], 30, "some scrapes")
        assert not prometheus.firing()
        # One tenant asks for more than it may have.
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: complete(daemon, keys["held"], "tales-moe", 40), range(30)))
        assert answers.count(429) > 5 and set(answers) == {200, 429}
        wait_for(lambda: "LocumRequestsRefused" in prometheus.firing(), 30, "the alert of refused requests")
        assert "LocumCrashes" not in prometheus.firing()
        # Processes are killed, each a while after the one before, and answers go on.
        for _ in range(5):
            victim = wait_for(daemon.workers, 10, "a worker")[0]
            os.kill(victim, signal.SIGKILL)
            assert complete(daemon, keys["ada"]) == 200
            time.sleep(1.1)
        wait_for(lambda: "LocumCrashes" in prometheus.firing(), 30, "the alert of crashes")
        assert complete(daemon, keys["ada"]) == 200
        # A key that is no key any more.
        daemon.run("key", "revoke", keys["metrics"])
        wait_for(lambda: "LocumNotScraped" in prometheus.firing(), 30, "the alert of a box that is not scraped")
