"""The memory budget, seen from outside: never exceeded, the same bits whatever it is, and refused where it cannot be
kept. The model is tales-moe; LOCUM_LONG=1 asks for more tokens and for ten minutes."""

import os
import re
import threading
import time

import pytest
from daemon import TALES, Daemon, Failed, wait_for
from observer import MemoryGroup, Observer, memory_report

LONG = os.environ.get("LOCUM_LONG") == "1"
MIB = 1 << 20
GROUPS = ("1", "4", "all")
PROMPTS = ("Once upon a time", "The old king", "A fox and a hare", "In the forest", "Long ago", "There lived a girl")


def start(data, *options: str) -> Daemon:
    return Daemon(data, "--idle-timeout", "60s", "--threads", "2", *options).start()


def deploy(daemon: Daemon, group: str) -> str:
    daemon.deploy(TALES, "--name", f"tales{group}", "--experts-per-function", group)
    return f"tales{group}"


def ask(daemon: Daemon, model: str, prompt: str, tokens: int, timeout: float = 240, **how):
    """Ids, log-probabilities and text."""
    answer = daemon.client(timeout=timeout).completions.create(
        model=model, prompt=prompt, max_tokens=tokens, logprobs=2,
        extra_body={"ignore_eos": True, "return_tokens_as_token_ids": True}, **how,
    )
    choice = answer.choices[0]
    assert answer.usage.completion_tokens == tokens
    return choice.logprobs.tokens, choice.logprobs.token_logprobs, choice.text


@pytest.fixture(scope="module")
def minimum(tmp_path_factory) -> dict[str, int]:
    """The smallest budget in bytes by experts per function, as the refusals name it."""
    found = {}
    with start(tmp_path_factory.mktemp("small") / "data", "--memory", "82M") as daemon:
        for group in GROUPS:
            with pytest.raises(Failed) as refused:
                deploy(daemon, group)
            found[group] = int(re.search(r"needs at least .*?\((\d+) bytes\)", refused.value.err)[1])
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A data folder with tales-moe at three granularities, its shards' sizes, and the answers at full residency."""
    data = tmp_path_factory.mktemp("store") / "data"
    answers = {}
    with start(data) as daemon:
        sizes = {}
        known: set[str] = set()
        for group in GROUPS:
            model = deploy(daemon, group)
            files = {path.name: path.stat().st_size for path in (data / "shards").iterdir()}
            # The router's shard is the same for all, the largest of the first deployment.
            fresh = {name: size for name, size in files.items() if name not in known}
            sizes[group] = sorted(fresh.values(), reverse=True)
            known |= files.keys()
            for way in WAYS:
                answers[group, way] = ask(daemon, model, PROMPTS[0], 24, **WAYS[way])
        router = sizes["1"].pop(0)
        for group in GROUPS:
            if sizes[group][0] == router:
                sizes[group].pop(0)
    return data, {"router": router, **sizes}, answers


WAYS = {"greedy": {"temperature": 0}, "sampled": {"temperature": 0.9, "seed": 11}}


def third(minimum: dict[str, int], sizes: dict, group: str) -> int:
    """The budget whose part for shards is a third of the model. The minimum has the router's shard in it, and those
    of one layer's four experts."""
    part = (sizes["router"] + sum(sizes[group])) // 3
    return minimum[group] + max(0, part - sizes["router"] - sum(sizes[group][:4]))


def six_at_once(daemon: Daemon, model: str, tokens: int, seconds: float = 0, timeout: float = 240):
    """Six clients, each asking again until the time is over; raises what any of them met."""
    errors: list[BaseException] = []
    end = time.monotonic() + seconds

    def client(i: int):
        try:
            turn = 0
            while turn == 0 or time.monotonic() < end:
                ask(daemon, model, PROMPTS[i], tokens, timeout, temperature=0.8, seed=100 * turn + i)
                turn += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise AssertionError(f"{len(errors)} of 6 clients failed: {errors[0]!r}") from errors[0]


def check_samples(observer: Observer, budget: int):
    highest = observer.highest
    print(f"{len(observer.samples)} samples, highest {highest}")
    assert highest.total <= budget, f"above the budget of {budget}: {highest}"
    assert not (above := [s for s in observer.samples if s.used > budget]), f"said more than the budget: {above[0]}"
    above = [s for s in observer.samples if s.total > s.used]
    assert not above, f"{len(above)} of {len(observer.samples)} samples above what the daemon said: {above[0]}"
    # With the kernel's own memory as the cgroup counts it, where there is one.
    above = [s for s in observer.samples if s.group is not None and s.group + s.shards > s.used]
    assert not above, f"{len(above)} of {len(observer.samples)} samples above what the daemon said: {above[0]}"


class GroupedDaemon(Daemon):
    """`locum up` within a memory cgroup; the CLI's other commands stay outside."""

    def __init__(self, group: MemoryGroup, *arguments):
        super().__init__(*arguments)
        self.group, self.starts = group, False

    def start(self, *arguments, **more):
        self.starts = True
        try:
            return super().start(*arguments, **more)
        finally:
            self.starts = False

    def _as_user(self) -> dict:
        return {**super()._as_user(), **({"preexec_fn": self.group.enter} if self.starts and self.group.path else {})}


@pytest.fixture
def group(request):
    """Makes a memory cgroup with a limit, or none where that cannot be."""
    made: list[MemoryGroup] = []

    def make(limit: int) -> MemoryGroup:
        made.append(MemoryGroup(f"locum-test-{os.getpid()}-{len(made)}", limit))
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.mark.parametrize("of", ("1", "4"))
def test_a_model_three_times_its_part_of_the_budget_never_exceeds_it_with_six_clients(store, minimum, group, of):
    """Sampled every 100 ms from /proc, mincore and a cgroup (whose limit is far away): what is there stays below what
    the daemon says, and that below the budget."""
    data, sizes, _ = store
    budget = third(minimum, sizes, of)
    with GroupedDaemon(group(2 << 30), data, "--threads", "2", "--memory", str(budget)) as daemon:
        with Observer(daemon, daemon.group if daemon.group.path else None) as observer:
            six_at_once(daemon, f"tales{of}", 200 if LONG else 60, seconds=300 if LONG else 0)
    check_samples(observer, budget)
    assert max(sample.shards for sample in observer.samples) > sizes["router"], "no expert was ever seen in memory"


def test_under_a_cgroup_limit_nothing_is_killed_and_nothing_swapped(store, minimum, group):
    """Without --memory the limit is the budget, less what it keeps back."""
    data, sizes, _ = store
    limit = minimum["4"] + 32 * MIB
    made = group(limit)
    if not made.path:
        pytest.skip(made.reason)
    with GroupedDaemon(made, data, "--threads", "2") as daemon:
        assert memory_report(data)["budget_bytes"] < limit
        with Observer(daemon, made) as observer:
            six_at_once(daemon, "tales4", 200)
        assert "ended unasked" not in "".join(daemon.errors)
        assert made.kills() == 0 and made.swapped() == 0
    check_samples(observer, limit)
    assert max(sample.group + sample.shards for sample in observer.samples) <= limit


@pytest.mark.parametrize("share", (1.0, 0.5, 0.25, 0.0))
def test_the_same_bits_at_every_budget(store, minimum, share):
    """At the minimum, and above it by a share of the experts' bytes: text, ids and log-probabilities, greedy and
    sampled, at each number of experts per function."""
    data, sizes, answers = store
    wrong = []
    budget = max(minimum.values()) + int(share * sum(sizes["1"]))
    with start(data, "--memory", str(budget)) as daemon:
        for of in GROUPS:
            for way, how in WAYS.items():
                if ask(daemon, f"tales{of}", PROMPTS[0], 24, 40, **how) != answers[of, way]:
                    wrong.append((of, way))
            daemon.run("evict", "--all")
    assert not wrong


def test_where_two_models_do_not_fit_together_an_idle_one_makes_room_for_the_other(store, minimum):
    """There is room for one router and a half: whoever is asked gets it, again and again, without an error."""
    data, sizes, answers = store
    with start(data, "--memory", str(max(minimum.values()) + sizes["router"])) as daemon:
        for turn in range(3):
            for of in ("4", "all"):
                assert ask(daemon, f"tales{of}", PROMPTS[0], 24, 40, temperature=0) == answers[of, "greedy"], turn


def test_two_models_that_do_not_fit_together_both_answer_when_they_are_asked_at_once(store, minimum):
    """One waits until the other has nothing under way; nobody gets an error, and neither is left waiting."""
    data, sizes, answers = store
    failures: list[str] = []
    with start(data, "--memory", str(max(minimum.values()) + sizes["router"])) as daemon:

        def client(of: str):
            for turn in range(3):
                try:
                    if ask(daemon, f"tales{of}", PROMPTS[0], 24, 80, temperature=0) != answers[of, "greedy"]:
                        failures.append(f"tales{of}, turn {turn}: another answer")
                except Exception as error:
                    failures.append(f"tales{of}, turn {turn}: {error!r}")

        threads = [threading.Thread(target=client, args=(of,)) for of in ("4", "all", "4")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_a_granularity_changes_no_bit_at_full_residency(store):
    _, _, answers = store
    for way in WAYS:
        assert answers["1", way] == answers["4", way] == answers["all", way]


def test_a_model_that_cannot_fit_is_refused_with_the_numbers_and_the_smallest_budget(tmp_path):
    """And nothing of it stays."""
    with start(tmp_path / "data", "--memory", "82M") as daemon:
        with pytest.raises(Failed) as refused:
            daemon.run("deploy", str(TALES), "--name", "tales")
        said = refused.value.err
        assert refused.value.code == 1
        for part in ("needs at least", f"budget is {82 * MIB} bytes", "for the daemons", "for the router", "layer's"):
            assert part in said, said
        assert "--memory" in said and "--context" in said, "no remedy"
        assert daemon.json("list") == []
        wait_for(
            lambda: not list((daemon.data / "shards").iterdir()), 5, "the shards of a refused model to be removed")


@pytest.mark.parametrize("of", GROUPS)
def test_exactly_the_smallest_budget_deploys_and_generates_and_one_byte_less_is_refused(tmp_path, store, minimum, of):
    least = minimum[of]
    with start(tmp_path / "less", "--memory", str(least - 1)) as daemon:
        with pytest.raises(Failed) as refused:
            deploy(daemon, of)
        assert f"({least} bytes)" in refused.value.err
    with start(tmp_path / "least", "--memory", str(least)) as daemon:
        model = deploy(daemon, of)
        with Observer(daemon) as observer:
            assert ask(daemon, model, PROMPTS[0], 24, 60, temperature=0) == store[2][of, "greedy"]
    check_samples(observer, least)
