"""Any worker may be killed at any moment; the client's stream goes on with the same tokens."""

import os
import random
import signal
import threading
import time

from daemon import Daemon, TALES


def stream(daemon, i, into):
    text = ""
    for chunk in daemon.client(timeout=120).completions.create(
        model="tales", prompt=f"Once upon a time there were {i + 2} brothers who", max_tokens=380, temperature=0.8, seed=i,
        stream=True, extra_body={"ignore_eos": True},
    ):
        text += chunk.choices[0].text if chunk.choices else ""
    into[i] = text


def test_fifty_workers_and_five_routers_die_and_every_stream_is_undisturbed(data):
    random.seed(5)
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        undisturbed: dict[int, str] = {}
        for i in range(3):
            stream(daemon, i, undisturbed)
        killed = {"expert": 0, "router": 0}
        rounds = 0
        while killed["expert"] < 50 or killed["router"] < 5:
            rounds += 1
            assert rounds < 60, f"killed only {killed}"
            got: dict[int, str] = {}
            threads = [threading.Thread(target=stream, args=(daemon, i, got)) for i in range(3)]
            for thread in threads:
                thread.start()
            router_turn = killed["router"] < 5
            while any(thread.is_alive() for thread in threads):
                time.sleep(random.uniform(0.005, 0.04))
                rows = daemon.ps()
                experts = [row for row in rows if row["runtime"] == "expert" and row["state"] == "ready"]
                routers = [row for row in rows if row["runtime"] == "router" and row["state"] == "ready"]
                if killed["expert"] < 50 and experts:
                    os.kill(random.choice(experts)["pid"], signal.SIGKILL)
                    killed["expert"] += 1
                elif router_turn and routers:
                    os.kill(routers[0]["pid"], signal.SIGKILL)
                    killed["router"] += 1
                    router_turn = False
                if router_turn and routers and random.random() < 0.3:
                    os.kill(routers[0]["pid"], signal.SIGKILL)
                    killed["router"] += 1
                    router_turn = False
            for thread in threads:
                thread.join()
            assert got == undisturbed
        print(f"killed {killed} in {rounds} rounds")
        assert daemon.status()["crashes"] >= 50
