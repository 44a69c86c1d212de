"""Formats of calls read off templates; a talk with tools for templates that know none."""

from typing import Any

import pytest

from models.calling import PROBE
from models.chat_template import ChatTemplate
from models.tool_format import (
    GEMMA,
    GENERIC,
    Reasoning,
    Tags,
    ToolFormat,
    derive,
    flatten,
    reasoning_of,
)

TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}CALLS<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chatml(calls: str) -> str:
    return TURNS.replace("CALLS", "{% if m.tool_calls %}" + calls + "{% endif %}")


HERMES = chatml(
    "{% for c in m.tool_calls %}{{ '\n' }}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}"
)
LLAMA3 = chatml(
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at once') }}{% endif %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", '
    '"parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
)
MISTRAL = chatml(
    "[TOOL_CALLS][{% for c in m.tool_calls %}"
    "{% if c.id | length != 9 %}{{ raise_exception('nine characters') }}{% endif %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, '
    '"id": "{{ c.id }}"}{% if not loop.last %}, {% endif %}{% endfor %}]'
)
MISTRAL_NEW = chatml(
    "{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[CALL_ID]{{ c.id }}[ARGS]"
    "{{ c.function.arguments | tojson }}{% endfor %}"
)
DEEPSEEK = chatml(
    "<|calls|>{% for c in m.tool_calls %}<|call|>{{ c.function.name }}<|sep|>"
    "{{ c.function.arguments | tojson }}<|end|>{% endfor %}<|done|>"
)
# DeepSeek's own write what is no dictionary, and a turn with calls only where it has no content.
DEEPSEEK_TEXT = chatml(
    "<|calls|>{% for c in m.tool_calls %}{{ '<|call|>' + c.type + '<|sep|>' + c.function.name"
    " + '\n```json\n' + c.function.arguments + '\n```<|end|>' }}{% endfor %}<|done|>"
).replace("{{ m.content }}{% if m.tool_calls %}", "{% if m.content %}{{ m.content }}{% else %}")
QWEN3_CODER = chatml(
    "{% for c in m.tool_calls %}{{ '\n<tool_call>\n<function=' + c.function.name + '>\n' }}"
    "{% for k, v in c.function.arguments | items %}{{ '<parameter=' + k + '>\n' }}"
    "{{ v | tojson if v is mapping else v | string }}{{ '\n</parameter>\n' }}{% endfor %}"
    "{{ '</function>\n</tool_call>' }}{% endfor %}"
)
GLM = chatml(
    "{% for c in m.tool_calls %}{{ '\n<tool_call>' + c.function.name + '\n' }}"
    "{% for k, v in c.function.arguments.items() %}"
    "{{ '<arg_key>' + k + '</arg_key>\n<arg_value>' }}"
    "{{ v if v is string else v | tojson }}{{ '</arg_value>\n' }}{% endfor %}"
    "{{ '</tool_call>' }}{% endfor %}"
)
MINIMAX = chatml(
    "{{ '\n<minimax:tool_call>\n' }}{% for c in m.tool_calls %}"
    "{{ '<invoke name=\"' + c.function.name + '\">\n' }}"
    "{% for k, v in c.function.arguments.items() %}{{ '<parameter name=\"' + k + '\">' }}"
    "{{ v if v is string else v | tojson }}{{ '</parameter>\n' }}{% endfor %}"
    "{{ '</invoke>\n' }}{% endfor %}{{ '</minimax:tool_call>' }}"
)
# The tag that begins a call has a name in it.
MINICPM = chatml(
    "{% for c in m.tool_calls %}{{ '\n<function name=\"' + c.function.name + '\">' }}"
    "{% for k, v in c.function.arguments.items() %}"
    "{{ '<param name=\"' + k + '\">' ~ v ~ '</param>' }}{% endfor %}{{ '</function>' }}{% endfor %}"
)
# A turn begins with what says that there are no thoughts, one with calls does not.
NEMOTRON = chatml(
    "<TOOLCALL>[{% for c in m.tool_calls %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "{{ ', ' if not loop.last }}{% endfor %}]</TOOLCALL>"
).replace("{{ m.content }}", "{{ '<think></think>' ~ m.content if m.content }}")


def form_of(source: str) -> ToolFormat:
    template = ChatTemplate(source)
    return derive(
        source, lambda messages: template.render(messages, [PROBE], prompt=False), ["<|im_end|>"]
    )


def test_hermes() -> None:
    assert form_of(HERMES) == ToolFormat(
        opening='<tool_call>\n{"name": "',
        middle='", "arguments": ',
        closing="}\n</tool_call>",
        between='}\n</tool_call>\n<tool_call>\n{"name": "',
        marker="<tool_call>",
    )


def test_llama_makes_one_call_that_may_follow_its_tag() -> None:
    found = form_of(LLAMA3)
    assert (found.opening, found.middle, found.closing) == ('{"name": "', '", "parameters": ', "}")
    assert (found.between, found.marker, found.fences) == (None, "", ())
    tagged = form_of(LLAMA3 + "{# <|python_tag|> #}")
    assert tagged.fences == (("<|python_tag|>", ""),)


def test_mistral_lists_ids_that_the_model_does_not_write() -> None:
    found = form_of(MISTRAL)
    assert found.opening == '[TOOL_CALLS][{"name": "'
    assert (found.between, found.closing) == ('}, {"name": "', "}]")
    assert found.marker == "[TOOL_CALLS]"
    assert found.short_ids


def test_newer_mistral_writes_the_id_itself() -> None:
    found = form_of(MISTRAL_NEW)
    assert (found.opening, found.id_mark, found.middle) == ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]")
    assert (found.between, found.closing) == ("[TOOL_CALLS]", "")


def test_deepseek() -> None:
    found = form_of(DEEPSEEK)
    assert (found.opening, found.middle) == ("<|calls|><|call|>", "<|sep|>")
    assert (found.between, found.closing) == ("<|end|><|call|>", "<|end|><|done|>")
    assert found.marker == "<|calls|>"


def test_deepseek_takes_arguments_as_text() -> None:
    found = form_of(DEEPSEEK_TEXT)
    assert found.text_arguments
    assert (found.opening, found.middle) == ("<|calls|><|call|>function<|sep|>", "\n```json\n")
    assert found.closing == "\n```<|end|><|done|>"


def test_arguments_between_tags() -> None:
    assert form_of(QWEN3_CODER) == ToolFormat(
        opening="<tool_call>\n<function=",
        middle=">\n",
        closing="</function>\n</tool_call>",
        between="</function>\n</tool_call>\n<tool_call>\n<function=",
        marker="<tool_call>",
        tags=Tags("<parameter=", ">\n", "\n</parameter>\n"),
    )
    glm = form_of(GLM)
    assert (glm.opening, glm.middle, glm.closing) == ("<tool_call>", "\n", "</tool_call>")
    assert glm.tags == Tags("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n")
    minimax = form_of(MINIMAX)
    assert (minimax.opening, minimax.middle) == ('<minimax:tool_call>\n<invoke name="', '">\n')
    assert (minimax.between, minimax.marker) == ('</invoke>\n<invoke name="', "<minimax:tool_call>")
    assert minimax.tags == Tags('<parameter name="', '">', "</parameter>\n")


def test_a_tag_may_have_the_name_in_it() -> None:
    found = form_of(MINICPM)
    assert (found.opening, found.middle, found.closing) == ('<function name="', '">', "</function>")
    assert found.marker == found.opening
    assert found.tags == Tags('<param name="', '">', "</param>")


def test_marks_of_thoughts_are_no_part_of_a_call() -> None:
    found = form_of(NEMOTRON)
    assert found.opening == '<TOOLCALL>[{"name": "'
    assert (found.between, found.closing) == ('}, {"name": "', "}]</TOOLCALL>")


def test_templates_may_look_into_the_schema_of_a_tool() -> None:
    """As Seed-OSS's does; and what they select from it may be written as JSON."""
    listing = (
        "{% for t in tools %}{{ t.function.parameters.properties.items() | list }}"
        "{{ t.function.parameters.required | join }}{% endfor %}"
        "{{ tools | map(attribute='function') | tojson }}"
    )
    assert form_of(listing + HERMES) == form_of(HERMES)


@pytest.mark.parametrize(
    "source",
    [
        TURNS.replace("CALLS", ""),
        "{{ raise_exception('no') }}",
        "{% for m in messages %}{{ m.content }}{{ m.tool_calls.x.y }}{% endfor %}",
    ],
)
def test_what_cannot_be_read_off_is_plain_json(source: str) -> None:
    assert form_of(source) == GENERIC


def test_gemma_is_told_as_google_documents_it() -> None:
    assert form_of("{% for m in messages %}<start_of_turn>{{ m.content }}{% endfor %}") == GEMMA


def test_thoughts_are_marked_as_the_template_says() -> None:
    assert reasoning_of("… '<think>' … '</think>' …") == Reasoning("<think>", "</think>")
    assert reasoning_of("{{ '[THINK]' }}{{ '[/THINK]' }}") == Reasoning("[THINK]", "[/THINK]")
    assert reasoning_of(TURNS) is None


def talk() -> list[dict[str, Any]]:
    call = {"id": "a", "type": "function", "function": {"name": "now", "arguments": {"zone": "é"}}}
    return [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
        {"role": "tool", "content": "noon", "tool_call_id": "a"},
        {"role": "tool", "content": "night", "tool_call_id": "a"},
    ]


TOOL = {"type": "function", "function": {"name": "now", "description": "time", "parameters": {}}}


def test_a_flat_talk_says_calls_as_they_are_to_be_written() -> None:
    flat = flatten(talk(), [TOOL], GENERIC, system=True)
    assert [message["role"] for message in flat] == ["system", "user", "assistant", "user"]
    assert flat[0]["content"].startswith("Be kind.\n\nYou have access to functions.")
    assert '{"name": "now", "description": "time", "parameters": {}}' in flat[0]["content"]
    call = '{"name": "now", "arguments": {"zone": "é"}}'
    assert flat[2]["content"] == f"{call}\n{call}"
    assert flat[3]["content"] == (
        "<tool_response>\nnoon\n</tool_response>\n<tool_response>\nnight\n</tool_response>"
    )


def test_without_system_messages_the_user_is_told() -> None:
    flat = flatten([{"role": "user", "content": "hi"}], [TOOL], GEMMA, system=False)
    assert [message["role"] for message in flat] == ["user"]
    assert flat[0]["content"].endswith("\n\nhi")
    assert '"parameters": dictionary of argument name' in flat[0]["content"]


def test_a_generation_block_is_its_content() -> None:
    template = ChatTemplate("{% generation %}{{ messages[0].content }}{% endgeneration %}!")
    assert template.render([{"role": "user", "content": "hi"}]) == "hi!"
