"""What the simulator holds Gemini's callers to: signatures, results, parts; and what it says when asked."""

import base64
import copy

from simtools import KEY, VERTEX

MODEL = "gemini-3.8-flash"
TOOLS = [
    {
        "functionDeclarations": [
            {"name": "f", "parametersJsonSchema": {"type": "object", "properties": {"a": {"type": "string"}}}},
            {"name": "g"},
        ]
    }
]


async def post(asker, body, *, model=MODEL, verb="generateContent", root="/v1beta/models/"):
    headers = {"x-goog-api-key": KEY, "Authorization": f"Bearer {KEY}"}
    async with asker.session.post(f"{asker.simulator.url}{root}{model}:{verb}", json=body, headers=headers) as response:
        return response.status, await response.json()


def user(*parts):
    return {"role": "user", "parts": list(parts)}


async def refused(asker, body, **where):
    status, answer = await post(asker, body, **where)
    assert status == 400, answer
    return answer["error"]["message"]


async def called(asker, prompt="call f and call g"):
    body = {"contents": [user({"text": prompt})], "tools": TOOLS}
    status, answer = await post(asker, body)
    assert status == 200
    content = answer["candidates"][0]["content"]
    results = [
        {"functionResponse": {"name": part["functionCall"]["name"], "response": {}}} for part in content["parts"]
    ]
    return {**body, "contents": [*body["contents"], content, user(*results)]}


async def test_calls_come_in_parallel_and_in_steps_and_only_the_first_is_signed(start):
    _, asker = await start()
    first = await called(asker, "call g and call f, then call g")
    parts = first["contents"][1]["parts"]
    assert [(part["functionCall"]["name"], "thoughtSignature" in part) for part in parts] == [("g", True), ("f", False)]
    _, second = await post(asker, first)
    content = second["candidates"][0]["content"]
    assert [part["functionCall"]["name"] for part in content["parts"]] == ["g"]
    result = user({"functionResponse": {"name": "g", "response": {}}})
    _, last = await post(asker, {**first, "contents": [*first["contents"], content, result]})
    assert last["candidates"][0]["content"]["parts"][0]["text"]


async def test_a_call_of_the_present_turn_without_its_signature_is_refused(start):
    _, asker = await start()
    body = await called(asker)
    lost = copy.deepcopy(body)
    del lost["contents"][1]["parts"][0]["thoughtSignature"]
    assert "Function call `f` in the 2. content block is missing a `thought_signature`" in await refused(asker, lost)
    assert (await post(asker, {**lost, "contents": [*lost["contents"], user({"text": "go on"})]}))[0] == 200
    assert (await post(asker, lost, model="gemini-2.5-flash"))[0] == 200
    lost["contents"][1]["parts"][0]["thoughtSignature"] = "skip_thought_signature_validator"
    assert (await post(asker, lost))[0] == 200


async def test_a_signature_fits_its_call_its_model_and_its_route_only(start):
    _, asker = await start()
    body = await called(asker)
    assert (await post(asker, body))[0] == 200
    assert "not valid" in await refused(asker, body, model="gemini-4-argon")
    assert "not valid" in await refused(asker, body, root=VERTEX.rpartition("/")[0] + "/")
    moved = copy.deepcopy(body)
    parts = moved["contents"][1]["parts"]
    parts[1]["thoughtSignature"] = parts[0]["thoughtSignature"]
    assert "not valid" in await refused(asker, moved)
    changed = copy.deepcopy(body)
    changed["contents"][1]["parts"][0]["functionCall"]["args"] = {"a": "other"}
    assert "not valid" in await refused(asker, changed)


async def test_texts_and_images_are_signed_whole_and_at_the_end_of_a_stream(start):
    _, asker = await start()
    body = {"contents": [user({"text": "draw"})], "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}
    _, answer = await post(asker, body)
    text, image = answer["candidates"][0]["content"]["parts"]
    assert text["thoughtSignature"] != image["thoughtSignature"]
    assert base64.b64decode(image["inlineData"]["data"]).startswith(b"\x89PNG")
    _, events = await post(asker, body, verb="streamGenerateContent")
    assert events[-1]["candidates"][0]["content"]["parts"] == [
        {"text": "", "thoughtSignature": text["thoughtSignature"]}
    ]
    again = {"contents": [*body["contents"], {"role": "model", "parts": [text, image]}, user({"text": "more"})]}
    assert (await post(asker, again))[0] == 200
    again["contents"][1]["parts"][0]["text"] += "!"
    assert "not valid" in await refused(asker, again)


async def test_every_call_wants_its_result(start):
    _, asker = await start()
    body = await called(asker)
    body["contents"][2]["parts"].pop()
    assert "number of function response parts" in await refused(asker, body)


async def test_parts_are_checked_and_counted(start):
    _, asker = await start()
    inline = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    result = {"functionResponse": {"name": "f", "response": {}, "parts": [inline]}}
    _, answer = await post(
        asker, {"contents": [user({"text": "12345678"}, inline, {"fileData": {"fileUri": "x"}})]}, verb="countTokens"
    )
    assert answer == {"totalTokens": 2 + 2 * 258}
    _, answer = await post(asker, {"contents": [user(result)]}, verb="countTokens")
    assert 258 < answer["totalTokens"] < 280
    for part, why in (
        ({"inlineData": {"mimeType": "image/png", "data": "*"}}, "Base64"),
        ({"inlineData": {"data": "AAAA"}}, "mime_type"),
        ({"fileData": {}}, "file_uri"),
        ({"type": "text", "text": "x"}, 'Unknown name "type"'),
    ):
        assert why in await refused(asker, {"contents": [user(part)]})


async def test_limits_of_the_api(start):
    _, asker = await start()
    hello = {"contents": [user({"text": "hi"})]}
    for generation, why in (
        ({"candidateCount": 9}, "candidateCount"),
        ({"logprobs": 2}, "responseLogprobs"),
        ({"stopSequences": list("abcdef")}, "at most 5"),
    ):
        assert why in await refused(asker, {**hello, "generationConfig": generation})
    pieces = {"functionCallingConfig": {"streamFunctionCallArguments": True}}
    assert "streamFunctionCallArguments" in await refused(asker, {**hello, "toolConfig": pieces})
    rows = [{"content": hello["contents"][0]}] * 101
    assert "at most 100" in await refused(asker, {"requests": rows}, verb="batchEmbedContents")
    vertex = VERTEX.rpartition("/")[0] + "/"
    for model, most in (("text-embedding-005", 250), ("gemini-embedding-001", 1)):
        body = {"instances": [{"content": "x"}] * (most + 1)}
        assert f"at most {most}" in await refused(asker, body, root=vertex, model=model, verb="predict")
    count = {"generateContentRequest": {**hello, "model": f"models/{MODEL}"}}
    assert (await post(asker, count, verb="countTokens"))[0] == 200
    assert "mutually exclusive" in await refused(asker, {**count, **hello}, verb="countTokens")
    assert "Unknown name" in await refused(asker, {**hello, "tools": TOOLS}, verb="countTokens")


async def test_log_probabilities_and_candidates(start):
    _, asker = await start()
    generation = {"candidateCount": 2, "responseLogprobs": True, "logprobs": 3}
    _, answer = await post(asker, {"contents": [user({"text": "in 4 words"})], "generationConfig": generation})
    for index, candidate in enumerate(answer["candidates"]):
        assert candidate["index"] == index
        assert len(candidate["logprobsResult"]["chosenCandidates"]) == 4
        assert all(len(one["candidates"]) == 3 for one in candidate["logprobsResult"]["topCandidates"])
    assert answer["usageMetadata"]["candidatesTokenCount"] == 8
