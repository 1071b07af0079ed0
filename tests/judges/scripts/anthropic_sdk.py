"""The `anthropic` package as a judge of Anthropic's wire; it validates every answer strictly."""

import anthropic
import judge


def client_of(order):
    return anthropic.Anthropic(
        base_url=order["url"], api_key=order["key"], max_retries=0, _strict_response_validation=True
    )


def messages(order, case):
    with client_of(order) as client:
        asked = {**case["asked"], "extra_headers": judge.fault_header(case)}
        if not case.get("stream"):
            return said(client.messages.create(**asked))
        with client.messages.stream(**asked) as stream:
            for _ in stream:
                pass
            return said(stream.get_final_message())


def said(message):
    blocks = message.content
    return {
        "text": "".join(block.text for block in blocks if block.type == "text"),
        "reasoning": "".join(block.thinking for block in blocks if block.type == "thinking"),
        "calls": [[block.id, block.name, block.input] for block in blocks if block.type == "tool_use"],
        "finish": message.stop_reason,
        "usage": [
            message.usage.input_tokens
            + (message.usage.cache_read_input_tokens or 0)
            + (message.usage.cache_creation_input_tokens or 0),
            message.usage.output_tokens,
        ],
        "signed": all(block.signature for block in blocks if block.type == "thinking"),
    }


def count(order, case):
    with client_of(order) as client:
        return {"counted": client.messages.count_tokens(**case["asked"]).input_tokens}


judge.run({"messages": messages, "count": count})
