"""The official openai client against the real gateway."""

import http.client
import json
import select
import time
import urllib.error
import urllib.request

import openai
import pytest
from daemon import NANO, wait_for


@pytest.fixture(scope="module")
def client(tales):
    return tales.client()


def post(tales, path, body, **headers):
    request = urllib.request.Request(
        tales.url + path, data=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_models_are_listed_and_looked_up(client):
    assert {model.id for model in client.models.list()} == {"tales-moe", "nano"}
    assert client.models.retrieve("nano").object == "model"


def test_a_completion_continues_the_prompt(client):
    done = client.completions.create(model="tales-moe", prompt="Once upon a time", max_tokens=12, temperature=0)
    assert done.object == "text_completion" and len(done.choices) == 1
    assert done.usage.completion_tokens == 12 and done.usage.prompt_tokens == 4
    assert done.usage.total_tokens == 16
    assert done.choices[0].finish_reason == "length"


def test_all_four_prompt_forms(client):
    def texts(prompt):
        return [c.text for c in client.completions.create(model="nano", prompt=prompt, max_tokens=6, temperature=0).choices]

    one, two = texts([5, 6, 7]), texts([9, 10])
    assert texts([[5, 6, 7], [9, 10]]) == one + two
    a, b = texts("hello"), texts("good")
    assert texts(["hello", "good"]) == a + b


def test_echo_with_max_tokens_zero_scores_the_prompt(client):
    done = client.completions.create(model="tales-moe", prompt="The king said", max_tokens=0, echo=True, logprobs=2)
    choice = done.choices[0]
    assert choice.text == "The king said"
    assert "".join(choice.logprobs.tokens) == "The king said"
    assert choice.logprobs.token_logprobs[0] is None
    assert all(value <= 0 for value in choice.logprobs.token_logprobs[1:])
    assert choice.logprobs.text_offset[0] == 0
    assert done.usage.completion_tokens == 0


def test_log_probabilities_are_those_before_temperature(client):
    def first(temperature):
        done = client.completions.create(
            model="tales-moe", prompt="Once upon", max_tokens=1, temperature=temperature, seed=3, logprobs=5)
        return done.choices[0].logprobs.top_logprobs[0]

    assert first(0) == first(1.5)


def test_n_choices_differ_and_a_seed_repeats_them(client):
    def texts(seed):
        done = client.completions.create(model="tales-moe", prompt="A fox", max_tokens=10, n=3, seed=seed, temperature=1)
        assert [c.index for c in done.choices] == [0, 1, 2]
        return [c.text for c in done.choices]

    assert texts(1) == texts(1)
    assert len(set(texts(1))) == 3
    assert texts(1) != texts(2)


def test_a_stop_text_ends_and_is_not_part_of_the_output(client):
    free = client.completions.create(model="tales-moe", prompt="Once upon a time", max_tokens=60, temperature=0).choices[0].text
    word = free.split()[5]
    done = client.completions.create(model="tales-moe", prompt="Once upon a time", max_tokens=60, temperature=0, stop=[word])
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].text == free[: free.index(word)]
    streamed = "".join(
        chunk.choices[0].text for chunk in client.completions.create(
            model="tales-moe", prompt="Once upon a time", max_tokens=60, temperature=0, stop=[word], stream=True))
    assert streamed == done.choices[0].text


def test_chat_answers_and_streams_the_same_with_usage(client):
    request = dict(
        model="tales-moe", messages=[{"role": "user", "content": "Tell me a story about a fox."}], seed=11,
        max_completion_tokens=40)
    whole = client.chat.completions.create(**request)
    assert whole.choices[0].message.role == "assistant"
    chunks = list(client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    usage = chunks[-1].usage
    assert chunks[-1].choices == [] and usage.total_tokens == whole.usage.total_tokens
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    # The second time the prompt is known but for its last token.
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason


def test_chat_takes_content_parts(client):
    def answer(content):
        return client.chat.completions.create(
            model="tales-moe", messages=[{"role": "user", "content": content}], temperature=0, max_tokens=8
        ).choices[0].message.content

    assert answer([{"type": "text", "text": "Tell me "}, {"type": "text", "text": "a story."}]) == answer("Tell me a story.")


def test_settings_of_a_chat_template(tales, client, tmp_path):
    """Qwen3's template writes an empty thought where thinking is turned off."""
    tales.deploy(NANO / "qwen3moe", "--name", "thinker", "--kv-type", "f32")
    try:
        def prompt(**more):
            return client.chat.completions.create(
                model="thinker", messages=[{"role": "user", "content": "Hi"}], max_tokens=1, extra_body=more).usage.prompt_tokens

        usual = prompt()
        assert prompt(chat_template_kwargs={"enable_thinking": False}) > usual
        for harmless in ({"enable_thinking": True}, {"enable_thinking": None}, {"unknown": 3, "style": "<|im_end|>"}, {}, None):
            assert prompt(chat_template_kwargs=harmless) == usual
        for wrong, parameter in [
            ([], "chat_template_kwargs"), ({"a": [1]}, "chat_template_kwargs.a"), ({"a": 0.5}, "chat_template_kwargs.a"),
            ({"messages": "x"}, "chat_template_kwargs"), ({"bos_token": "x"}, "chat_template_kwargs")]:
            with pytest.raises(openai.BadRequestError) as error:
                prompt(chat_template_kwargs=wrong)
            assert error.value.body["param"] == parameter, error.value.body
    finally:
        tales.run("rm", "thinker")


def test_chat_log_probabilities(client):
    done = client.chat.completions.create(
        model="tales-moe", messages=[{"role": "user", "content": "Tell me a story."}], temperature=0, max_tokens=5,
        logprobs=True, top_logprobs=4)
    content = done.choices[0].logprobs.content
    assert len(content) == 5
    for token in content:
        assert len(token.top_logprobs) == 4
        assert token.logprob == token.top_logprobs[0].logprob
        assert bytes(token.bytes).decode(errors="replace") == token.token


def active(tales):
    """Workers with a call or sequence under way cannot be evicted; the router's sequence count tells."""
    return [row for row in tales.ps() if row["state"] == "ready" and row["runtime"] == "router"]


def test_cancelling_ends_the_sequence_within_half_a_second(tales, client):
    stream = client.completions.create(
        model="tales-moe", prompt="Once", max_tokens=480, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    time.sleep(0.5)
    before = tales.status()["invocations"]
    time.sleep(0.5)
    assert tales.status()["invocations"] == before


def test_an_unknown_model_is_404(client):
    with pytest.raises(openai.NotFoundError) as error:
        client.completions.create(model="nobody", prompt="x")
    assert "nobody" in error.value.body["message"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


BAD = [
    ({"temperature": 3}, "temperature"), ({"temperature": "hot"}, "temperature"), ({"top_p": 0}, "top_p"),
    ({"max_tokens": -5}, "max_tokens"), ({"n": 0}, "n"), ({"n": 1000}, "n"), ({"logprobs": 99}, "logprobs"),
    ({"stop": [1]}, "stop"), ({"stop": ["a"] * 100}, "stop"), ({"presence_penalty": 9}, "presence_penalty"),
    ({"logit_bias": {"5": 1}}, "logit_bias"), ({"suffix": "x"}, "suffix"), ({"best_of": 4}, "best_of"),
    ({"prompt": {"a": 1}}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": [999999]}, "prompt"),
    ({"seed": "x"}, "seed"), ({"stream": "yes"}, "stream"), ({"prompt": None}, "prompt"),
]


@pytest.mark.parametrize("change,parameter", BAD, ids=[f"{p}-{i}" for i, (_, p) in enumerate(BAD)])
def test_a_bad_parameter_is_400_and_named(tales, change, parameter):
    code, body = post(tales, "/v1/completions", {"model": "nano", "prompt": "a", "max_tokens": 2} | change)
    assert code == 400, body
    assert json.loads(body)["error"]["param"] == parameter, body


def test_a_bad_chat_parameter_is_400_and_named(client):
    for change, parameter in [
        ({"messages": []}, "messages"), ({"messages": [{"role": "alien", "content": "x"}]}, "messages"),
        ({"top_logprobs": 3}, "top_logprobs"), ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
    ]:
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(
                **({"model": "tales-moe", "messages": [{"role": "user", "content": "x"}]} | change))
        assert parameter in error.value.body["param"], (change, error.value.body)


def test_longer_than_the_context_is_400_and_names_the_numbers(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model="nano", prompt=[5] * 400, max_tokens=200)
    message = error.value.body["message"]
    assert "400" in message and "200" in message and "512" in message


def test_foreign_hosts_and_origins_are_refused(tales):
    body = {"model": "nano", "prompt": "a", "max_tokens": 1}
    assert post(tales, "/v1/completions", body)[0] == 200
    assert post(tales, "/v1/completions", body, Host="evil.example")[0] == 403
    assert post(tales, "/v1/completions", body, Origin="https://evil.example")[0] == 403
    assert post(tales, "/v1/completions", body, Origin=tales.url)[0] == 200


def test_other_bad_requests_get_json_errors(tales):
    assert post(tales, "/v1/completions", b"{", )[0] == 400
    assert post(tales, "/v1/completions", b"\xff\xfe{}")[0] == 400
    assert post(tales, "/v1/completions", b"[1,2]")[0] == 400
    assert post(tales, "/v1/completions", {"model": "nano", "prompt": "a"}, **{"Content-Type": "text/plain"})[0] == 415
    code, body = post(tales, "/v1/nothing", {})
    assert code == 404 and "error" in json.loads(body)
    with urllib.request.urlopen(tales.url + "/health") as answer:
        assert answer.status == 200


def test_a_full_queue_is_429_with_a_time_to_wait(tales):
    body = json.dumps({"model": "tales-moe", "prompt": "Once", "max_tokens": 100, "ignore_eos": True})
    host, port = tales.url.removeprefix("http://").split(":")
    waiting = []
    try:
        for _ in range(340):
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            waiting.append(connection)
        # Who is refused hears it at once; who was let in hears nothing until its answer is complete.
        refused = []
        while len(refused) < 20:
            ready, _, _ = select.select([connection.sock for connection in waiting], [], [], 60)
            assert ready, f"{len(refused)} were refused"
            for connection in [connection for connection in waiting if connection.sock in ready]:
                waiting.remove(connection)
                answer = connection.getresponse()
                assert answer.status in (200, 429), answer.status
                if answer.status == 429:
                    assert int(answer.headers["Retry-After"]) >= 1
                    assert json.loads(answer.read())["error"]["code"] == "queue_full"
                    refused.append(connection)
                connection.close()
    finally:
        for connection in waiting:
            connection.close()
    # Those who hung up are in nobody's way, once that was noticed.
    body = {"model": "tales-moe", "prompt": "Once", "max_tokens": 1}
    wait_for(lambda: post(tales, "/v1/completions", body)[0] == 200, 10, "room for others")
