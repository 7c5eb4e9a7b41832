"""Clients by hand on the real listener: half-closed ones, silent ones, and names in paths."""

import json
import socket

import pytest
from daemon import Failed


def talk(daemon, text: str, close_side: bool) -> str:
    host, port = daemon.url.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as peer:
        peer.sendall(text.encode())
        if close_side:
            peer.shutdown(socket.SHUT_WR)
        answer = b""
        while part := peer.recv(65536):
            answer += part
    return answer.decode()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_closes_its_side_gets_its_answer(tales, stream):
    """`printf … | nc -N`: also when the answer begins with a cold start."""
    tales.run("evict", "--all")
    body = json.dumps({"model": "nano", "prompt": "hello", "max_tokens": 20, "temperature": 0, "stream": stream, "ignore_eos": True})
    answer = talk(
        tales, f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}", True)
    assert "HTTP/1.1 200" in answer
    assert ("data: [DONE]" if stream else '"completion_tokens":20') in answer


def test_names_come_back_as_they_were_given_and_an_empty_one_is_wrong_usage(tales):
    for command in ("describe", "rm", "evict"):
        with pytest.raises(Failed) as failure:
            tales.run(command, "a b/ü%20")
        assert failure.value.code == 3 and "a b/ü%20" in failure.value.err
        with pytest.raises(Failed) as failure:
            tales.run(command, "")
        assert failure.value.code == 64 and "name is needed" in failure.value.err


def test_json_ends_with_one_newline(tales):
    for command in (("list",), ("describe", "nano"), ("ps",), ("status",), ("verify",), ("evict", "nano")):
        text = tales.run(*command, "--json")
        assert text.endswith("\n") and not text.endswith("\n\n"), command


def test_too_many_rows_for_one_call_are_counted(tales):
    with pytest.raises(Failed) as failure:
        tales.run("invoke", "nano/L00-E003", "--raw", input=bytes(4 * 64 * 20_000))
    assert failure.value.code == 1
    assert "20000 rows" in failure.value.err and "16384" in failure.value.err
    assert len(tales.run("invoke", "nano/L00-E003", "--raw", input=bytes(4 * 64 * 100))) == 4 * 64 * 100
