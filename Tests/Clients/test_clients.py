"""Clients that people have, as they come from PyPI, with a key: openai, litellm, langchain-openai, and lm-evaluation-harness
on a small task with the model's own tokenizer. Nothing is asked of any other host."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import litellm
import openai
import pytest
from daemon import TALES, Daemon, figure
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI

MODEL = "tales-moe"
SAY = [{"role": "user", "content": "Tell me a story about a fox."}]
STARTS = [
    "Once upon a time there was a little fox who", "The old owl looked at the moon and", "In a small house by the river",
    "The king had three daughters, and", "Every morning the baker", "One day a boy found a"]
#: Of an evaluation: nobody else's host.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A daemon and the key of a tenant."""
    with Daemon(tmp_path_factory.mktemp("clients") / "data", "--idle-timeout", "300s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", MODEL)
        daemon.run("tenant", "create", "ada")
        daemon.run("tenant", "create", "narrow", "--max-requests", "1", "--queue", "0")
        names = ("openai", "litellm", "langchain-openai", "lm-eval", "transformers")
        figure("clients: " + ", ".join(f"{name} {version(name)}" for name in names))
        yield daemon, daemon.run("key", "create", "ada").strip()


@pytest.fixture(scope="module")
def story(box) -> str:
    """What the model answers, by the client that the other tests use."""
    daemon, key = box
    client = openai.OpenAI(base_url=daemon.url + "/v1", api_key=key)
    return client.chat.completions.create(model=MODEL, messages=SAY, max_tokens=24, temperature=0).choices[0].message.content


def test_openai_by_its_environment_alone(box, story):
    """A program that was written for OpenAI's own service."""
    daemon, key = box
    code = (
        "import openai, sys\n"
        "for chunk in openai.OpenAI().chat.completions.create(model=sys.argv[1], max_tokens=24, temperature=0, stream=True,\n"
        "        messages=[{'role': 'user', 'content': sys.argv[2]}]):\n"
        "    print(chunk.choices[0].delta.content or '', end='')")
    environment = {**os.environ, "OPENAI_API_KEY": key, "OPENAI_BASE_URL": daemon.url + "/v1"}
    done = subprocess.run(
        [sys.executable, "-c", code, MODEL, SAY[0]["content"]], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == (story, 0), done.stderr
    done = subprocess.run(
        [sys.executable, "-c", code, MODEL, "x"], env={**environment, "OPENAI_API_KEY": "sk-wrong"}, capture_output=True,
        text=True, timeout=60)
    assert done.returncode != 0 and "AuthenticationError" in done.stderr and "invalid_api_key" in done.stderr


def test_openai_waits_as_it_is_told(box):
    """Of five at once of a tenant that may have one, four hear 429: the client comes again by itself."""
    daemon, _ = box
    key = daemon.run("key", "create", "narrow").strip()

    def ask(retries: int) -> str:
        client = openai.OpenAI(base_url=daemon.url + "/v1", api_key=key, max_retries=retries)
        try:
            return client.completions.create(
                model=MODEL, prompt="Once", max_tokens=60, extra_body={"ignore_eos": True}).object
        except openai.RateLimitError as error:
            return error.code

    with ThreadPoolExecutor(5) as pool:
        assert set(pool.map(ask, [0] * 5)) == {"text_completion", "queue_full"}
        assert set(pool.map(ask, [20] * 5)) == {"text_completion"}


def test_litellm(box, story):
    daemon, key = box
    where = {"api_base": daemon.url + "/v1", "api_key": key}
    how = {"model": "openai/" + MODEL, "messages": SAY, "max_tokens": 24, "temperature": 0, **where}
    answer = litellm.completion(**how)
    assert answer.choices[0].message.content == story and answer.usage.completion_tokens == 24
    parts = list(litellm.completion(**how, stream=True, stream_options={"include_usage": True}))
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == story
    assert parts[-1].usage.completion_tokens == 24
    text = litellm.text_completion(
        model="text-completion-openai/" + MODEL, prompt=STARTS[0], max_tokens=8, temperature=0, **where)
    assert text.choices[0].text and text.usage.completion_tokens == 8
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**{**how, "api_key": "sk-wrong"}, num_retries=0)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**{**how, "model": "openai/gpt-5"}, num_retries=0)


def test_langchain(box, story):
    daemon, key = box
    where = {"model": MODEL, "base_url": daemon.url + "/v1", "api_key": key, "temperature": 0, "max_retries": 0}
    chat = ChatOpenAI(**where, max_tokens=24, stream_usage=True)
    answer = chat.invoke(SAY[0]["content"])
    assert answer.content == story and answer.usage_metadata["output_tokens"] == 24
    whole = None
    for part in chat.stream([HumanMessage(SAY[0]["content"])]):
        whole = part if whole is None else whole + part
    assert whole.content == story and whole.usage_metadata["output_tokens"] == 24
    asked = [[SystemMessage("You tell stories."), HumanMessage(text)] for text in STARTS]
    assert [a.content for a in chat.batch(asked)] == [chat.invoke(one).content for one in asked]
    # Completions of several prompts in one request.
    made = OpenAI(**where, max_tokens=8).generate(STARTS)
    assert len(made.generations) == len(STARTS) and made.llm_output["token_usage"]["completion_tokens"] == 8 * len(STARTS)
    with pytest.raises(openai.AuthenticationError):
        ChatOpenAI(**{**where, "api_key": "sk-wrong"}).invoke("x")


TASKS = {
    "tales_choice": """
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: right
metric_list: [{metric: acc}]
""",
    "tales_greedy": """
output_type: generate_until
doc_to_target: "{{choices[right]}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 16, temperature: 0, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "tales_scores": """
output_type: loglikelihood
doc_to_target: "{{choices[right]}}"
metric_list: [{metric: acc}]
""",
}


def evaluate(url: str, key: str, folder: Path, *options: str) -> subprocess.CompletedProcess:
    arguments = f"model={MODEL},base_url={url}/v1/completions,tokenizer={TALES},num_concurrent=4,max_retries=1,max_length=512"
    return subprocess.run(
        [Path(sys.executable).parent / "lm_eval", "run", "--model", "local-completions", "--model_args", arguments, "--tasks",
         *TASKS, "--include_path", folder, "--output_path", folder / "out", "--log_samples", *options],
        env={**os.environ, **OFFLINE, "HF_HOME": str(folder / "home"), "OPENAI_API_KEY": key}, capture_output=True, text=True,
        timeout=400, cwd=folder)


def test_lm_evaluation_harness(box, tmp_path):
    """Scores, choices and generations of a task that the model must solve: its own words against the same in disorder."""
    daemon, key = box
    client = openai.OpenAI(base_url=daemon.url + "/v1", api_key=key)
    with open(tmp_path / "tales.jsonl", "w") as file:
        for number, start in enumerate(STARTS):
            own = client.completions.create(model=MODEL, prompt=start, max_tokens=16, temperature=0).choices[0].text
            disorder = " " + " ".join(reversed(own.split()))
            choices = [own, disorder] if number % 2 else [disorder, own]
            file.write(json.dumps({"start": start, "choices": choices, "right": choices.index(own)}) + "\n")
    for name, text in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path}/tales.jsonl}}}}\n"
            f"test_split: test\ndoc_to_text: start\ntarget_delimiter: ''\n{text}")
    done = evaluate(daemon.url, key, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads(next((tmp_path / "out").rglob("results_*.json")).read_text())["results"]
    assert results["tales_choice"]["acc,none"] == 1.0
    assert results["tales_greedy"]["exact_match,none"] == 1.0
    # What was drawn greedily is what is most probable, token by token.
    assert results["tales_scores"]["acc,none"] == 1.0
    samples = [json.loads(line) for line in next((tmp_path / "out").rglob("samples_tales_scores_*")).read_text().splitlines()]
    for sample in samples:
        start, own = sample["doc"]["start"], sample["doc"]["choices"][sample["doc"]["right"]]
        scored = client.completions.create(
            model=MODEL, prompt=start + own, max_tokens=0, logprobs=1, echo=True, temperature=0).choices[0].logprobs
        mine = sum(s for s, offset in zip(scored.token_logprobs, scored.text_offset) if offset >= len(start))
        assert float(sample["resps"][0][0][0]) == pytest.approx(mine, abs=1e-3)
    figure(f"lm-evaluation-harness: {len(TASKS)} tasks of {len(STARTS)} documents, {len(samples)} scores as asked directly")
    refused = evaluate(daemon.url, "sk-wrong", tmp_path, "--limit", "1")
    assert refused.returncode != 0 and "401" in refused.stderr + refused.stdout, refused.stderr[-2000:]
