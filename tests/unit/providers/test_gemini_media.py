"""Images, sounds, films and files on their way to Gemini."""

from __future__ import annotations

import pytest
from gemini_pieces import CALL, body, said

from spillway.core.errors import BadRequest


def media(*parts, options=None, model="gemini-3.8-flash"):
    return body(said("user", list(parts)), options=options, model=model)["contents"][0]["parts"]


VERTEX = {"variant": "vertex", "project": "p"}


def file_of(**file):
    return {"type": "file", "file": file}


@pytest.mark.parametrize(
    ("part", "options", "sent"),
    [
        ({"type": "image_url", "image_url": "data:image/png;base64,AA=="}, {}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}, {}, {"inlineData": {"mimeType": "audio/mpeg", "data": "AA=="}}),
        (file_of(file_data="AA==", filename="a.pdf"), VERTEX, {"inlineData": {"mimeType": "application/pdf", "data": "AA==", "displayName": "a.pdf"}}),
        (file_of(file_id="abc"), {}, {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}),
        (file_of(file_id="files/abc", format="video/mp4"), {}, {"fileData": {"mimeType": "video/mp4", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}),
        (file_of(file_id="gs://b/a.pdf"), VERTEX, {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}}),
        ({"type": "image_url", "image_url": {"url": "https://h/a.png"}}, {}, {"fileData": {"mimeType": "image/png", "fileUri": "https://h/a.png"}}),
        ({"type": "video_url", "video_url": {"url": "https://www.youtube.com/watch?v=x"}}, {}, {"fileData": {"fileUri": "https://www.youtube.com/watch?v=x"}}),
        ({"type": "video_url", "video_url": {"url": "https://youtu.be/x"}}, VERTEX, {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}}),
        ({"type": "video_url", "video_url": "data:video/webm;base64,AA=="}, {}, {"inlineData": {"mimeType": "video/webm", "data": "AA=="}}),
        ({"fileData": {"fileUri": "x"}, "videoMetadata": {"fps": 1}}, {}, {"fileData": {"fileUri": "x"}, "videoMetadata": {"fps": 1}}),
        ({"inline_data": {"mime_type": "image/png", "data": "AA=="}}, {}, {"inline_data": {"mime_type": "image/png", "data": "AA=="}}),
    ],
)  # fmt: skip
def test_media(part, options, sent):
    assert media(part, options=options) == [sent]


@pytest.mark.parametrize(
    ("part", "options", "why"),
    [
        ({"type": "image_url", "image_url": "http://h/a.png"}, {}, "http addresses are not read"),
        ({"type": "image_url", "image_url": "data:;base64,AA=="}, {}, "must name a media type"),
        (file_of(file_id="gs://b/a.pdf"), {}, "only Vertex reads gs://"),
        (file_of(file_id="abc"), VERTEX, "Vertex has no Files API"),
        (file_of(file_url="https://h/what"), VERTEX, "file.format"),
        ({"type": "search_result", "text": "x"}, {}, "'search_result' parts are not known"),
        ({"text": "x", "colour": "red"}, {}, "no part of Gemini's has colour"),
        ({}, {}, "nothing in it"),
    ],
)
def test_media_that_can_not_be_carried_are_refused_by_their_place(part, options, why):
    with pytest.raises(BadRequest, match=rf"messages\[0\]\.content\[0\].*{why}"):
        media(part, options=options)


def test_results_of_tools_carry_images_and_errors():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    messages = [
        said("user", "go"),
        said("assistant", None, tool_calls=[CALL]),
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "text", "text": "no map"}, image],
            "is_error": True,
        },
    ]
    assert body(*messages)["contents"][2]["parts"] == [
        {
            "functionResponse": {
                "id": "c1",
                "name": "f",
                "response": {"error": "no map"},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}],
            }
        }
    ]
    with pytest.raises(BadRequest, match=r"messages\[2\]\.content\[1\]: a tool's result is text for gemini-2.5-flash"):
        body(*messages, model="gemini-2.5-flash")
