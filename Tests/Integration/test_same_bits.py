"""One model, request and seed give one output, bit for bit, however the work is cut and whoever else is served."""

import threading

import pytest
from daemon import NANO, Daemon

FLAGS = set(next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split())
KERNELS = {"scalar"} | {
    path for path, flags in {
        "avx2": {"avx2", "fma", "f16c"}, "avxvnni": {"avx2", "fma", "f16c", "avx_vnni"},
        "avx512": {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}}.items()
    if flags <= FLAGS}
PROMPT = list(range(3, 150, 2))
SOURCES = {
    "f32": NANO / "gguf/qwen2moe.F32.gguf", "q8_0": NANO / "gguf/qwen2moe.Q8_0.gguf",
    "q4_k_m": NANO / "gguf/kquant-qwen2moe.Q4_K_M.gguf", "qwen3moe": NANO / "qwen3moe",
    "mixtral": NANO / "gguf/mixtral.Q8_0.gguf", "olmoe": NANO / "olmoe"}


def ask(daemon, model, prompt=PROMPT, stream=False, seed=7, tokens=40):
    """Ids with log-probabilities of the output."""
    request = dict(
        model=model, prompt=prompt, max_tokens=tokens, temperature=0.9, seed=seed, logprobs=3, stream=stream,
        extra_body={"ignore_eos": True, "return_tokens_as_token_ids": True},
    )
    answer = daemon.client().completions.create(**request)
    chunks = list(answer) if stream else [answer]
    tokens, logprobs, text = [], [], ""
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.text
            if choice.logprobs:
                tokens += choice.logprobs.tokens
                logprobs += choice.logprobs.token_logprobs
    return tokens, logprobs, text


@pytest.mark.parametrize("kind", SOURCES)
def test_granularity_threads_company_and_streaming_change_nothing(tmp_path, kind):
    results = {}
    for threads in ("1", "2"):
        with Daemon(tmp_path / f"t{threads}", "--threads", threads, "--idle-timeout", "60s") as daemon:
            for group in ("1", "4", "all"):
                model = f"m{group}"
                daemon.deploy(SOURCES[kind], "--name", model, "--experts-per-function", group)
                results[threads, group, "alone"] = ask(daemon, model)
            daemon.deploy(
                SOURCES[kind], "--name", "layers", "--experts-per-function", "all", "--layers-per-function", "all")
            results[threads, "all layers", "alone"] = ask(daemon, "layers")
            results[threads, "1", "streamed"] = ask(daemon, "m1", stream=True)
            others = [
                threading.Thread(target=ask, args=(daemon, "m1", list(range(i, 90 + 7 * i))), kwargs={"seed": i, "tokens": 80})
                for i in range(1, 6)
            ]
            for other in others:
                other.start()
            results[threads, "1", "beside five others"] = ask(daemon, "m1")
            for other in others:
                other.join()
    first = results["1", "1", "alone"]
    assert len(first[0]) == 40 and len(set(first[0])) > 5
    for key, result in results.items():
        assert result == first, key


@pytest.mark.parametrize("kind", SOURCES)
def test_every_instruction_set_gives_the_same_bits(tmp_path, kind, monkeypatch):
    results = {}
    for path in ("scalar", "avx2", "avxvnni", "avx512"):
        monkeypatch.setenv("LOCUM_ISA", path)
        with Daemon(tmp_path / path, "--idle-timeout", "60s") as daemon:
            # Where the processor lacks it another is in force, and the status says which.
            path = daemon.status()["sandbox"]["kernels"]
            daemon.deploy(SOURCES[kind], "--name", "m")
            results[path] = ask(daemon, "m")
    assert set(results) == KERNELS and len(results["scalar"][0]) == 40
    assert all(result == results["scalar"] for result in results.values()), results


def test_a_prompt_in_chunks_scores_as_a_whole(tmp_path):
    """The prompt's own log-probabilities, alone and while others force it into smaller chunks."""
    with Daemon(tmp_path / "d", "--threads", "2", "--idle-timeout", "60s") as daemon:
        daemon.deploy(SOURCES["f32"], "--name", "m")
        prompt = [(i * 37) % 500 for i in range(400)]

        def scores():
            answer = daemon.client().completions.create(
                model="m", prompt=prompt, max_tokens=0, echo=True, logprobs=2)
            return answer.choices[0].logprobs.token_logprobs, answer.choices[0].logprobs.top_logprobs

        alone = scores()
        assert len(alone[0]) == 400 and alone[0][0] is None
        others = [threading.Thread(target=ask, args=(daemon, "m", prompt[: 60 * i]), kwargs={"tokens": 60}) for i in range(1, 6)]
        for other in others:
            other.start()
        beside = scores()
        for other in others:
            other.join()
        assert beside == alone
