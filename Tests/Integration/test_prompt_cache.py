"""What a conversation has computed is not computed again: the same text, less work, within the budget."""

import time

import pytest
from daemon import TALES, Daemon, wait_for
from observer import memory_report
from test_memory_budget import minimum  # noqa: F401

STORY = (
    "Once upon a time there was a little fox who lived at the edge of a great forest. Every morning she went down to "
    "the river to drink, and every morning she met an old owl who had not slept well. ")


def start(data, *options: str) -> Daemon:
    return Daemon(data, "--threads", "2", *options).start()


def tell(daemon: Daemon, prompt: str, tokens: int = 20, **how):
    """Text, the prompt's tokens, and how many of them were known."""
    answer = daemon.client().completions.create(
        model="tales", prompt=prompt, max_tokens=tokens, temperature=0, extra_body={"ignore_eos": True}, **how)
    return answer.choices[0].text, answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens


@pytest.fixture
def tales(data):
    with start(data, "--idle-timeout", "60s") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        yield daemon


def test_the_next_turn_of_a_conversation_is_the_same_as_without_the_cache(tales):
    first, count, cached = tell(tales, STORY)
    assert cached == 0 and count > 30
    second, count, cached = tell(tales, STORY + first + " And then")
    # All but what is new and the last token of the answer, which was drawn and not computed.
    assert cached >= count - 8
    again, count, cached = tell(tales, STORY + first + " And then")
    assert again == second and cached == count - 1
    tales.run("evict", "--all")
    fresh, _, cached = tell(tales, STORY + first + " And then")
    assert fresh == second and cached == 0


def test_a_chat_reads_each_message_once(tales):
    messages = [{"role": "user", "content": "Tell me a story about a fox and an owl who are friends."}]
    client = tales.client()
    known = []
    for _ in range(3):
        answer = client.chat.completions.create(model="tales", messages=messages, max_tokens=16, temperature=0)
        known.append((answer.usage.prompt_tokens_details.cached_tokens, answer.usage.prompt_tokens))
        messages += [{"role": "assistant", "content": answer.choices[0].message.content},
                     {"role": "user", "content": "And what did the owl say?"}]
    assert known[0][0] == 0
    # What a template makes of an answer may differ from the answer's own tokens, so not each of them counts.
    assert known[1][0] >= known[0][1] - 8 and known[2][0] >= known[1][1] - 8


def test_scores_of_a_prompt_are_all_there(tales):
    tell(tales, STORY)
    answer = tales.client().completions.create(
        model="tales", prompt=STORY, max_tokens=1, temperature=0, logprobs=1, echo=True)
    assert len(answer.choices[0].logprobs.tokens) == answer.usage.prompt_tokens + 1
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_sessions_are_kept_as_long_as_is_said_and_experts_are_not(data):
    with start(data, "--idle-timeout", "1s", "--keep-sessions", "9s") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        tell(daemon, STORY)
        wait_for(lambda: [row["function"] for row in daemon.ps()] == ["tales/router"], 8, "only the router is left")
        assert memory_report(data)["kv_bytes"] > 0
        _, count, cached = tell(daemon, STORY)
        assert cached == count - 1
        asked = time.monotonic()
        wait_for(lambda: daemon.ps() == [], 15, "everything is gone")
        assert time.monotonic() - asked > 8
        assert memory_report(data)["kv_bytes"] == 0


def test_at_the_smallest_budget_conversations_make_room(data, minimum):  # noqa: F811
    """There is room for one sequence: what another has left goes when it is needed."""
    with start(data, "--idle-timeout", "60s", "--memory", str(minimum["4"])) as daemon:
        daemon.deploy(TALES, "--name", "tales", "--experts-per-function", "4")
        for number in range(6):
            # Room for 400 tokens is reserved, a few of them are made.
            tell(daemon, f"{number} {STORY}", tokens=400, stop=["a", "e"])
        report = memory_report(data)
        assert report["used_bytes"] <= report["budget_bytes"]


def test_where_there_is_room_several_conversations_go_on(tales):
    prompts = [f"{number} {STORY}" for number in range(5)]
    for prompt in prompts:
        assert tell(tales, prompt)[2] < 20
    for prompt in prompts:
        _, count, cached = tell(tales, prompt)
        assert cached == count - 1
