"""Usage in OpenAI's names."""

from spillway.core.chat_shape import usage_shape
from spillway.core.reply import Usage


def test_classes_that_are_zero_are_left_out_and_audio_stands_where_openai_puts_it():
    assert usage_shape(Usage(input_tokens=3, output_tokens=2)) == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
    }
    shown = usage_shape(
        Usage(input_tokens=9, cached_tokens=4, audio_input_tokens=5, output_tokens=7, audio_output_tokens=6)
    )
    assert shown["prompt_tokens_details"] == {"cached_tokens": 4, "audio_tokens": 5}
    assert shown["completion_tokens_details"] == {"audio_tokens": 6}
