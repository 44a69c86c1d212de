import pytest

from models.chat_template import ChatTemplate
from models.errors import InvalidRequest, ModelError
from tests.real_models import smollm2_path


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


USER = (said("user", "Hello"),)

# SmolLM2's own, as it stands in the GGUF file.
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_smollm2_with_a_system_message() -> None:
    messages = (said("system", "Be brief."), *USER)
    assert ChatTemplate(SMOLLM2).render(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_smollm2_without_one_brings_its_own() -> None:
    text = ChatTemplate(SMOLLM2).render(USER)
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")


def test_without_a_template_turns_are_paragraphs() -> None:
    messages = (
        said("system", "Be brief."),
        *USER,
        said("assistant", "Yes?"),
        said("user", "Bye"),
    )
    assert ChatTemplate(None, bos="<s>").render(messages) == (
        "<s>Be brief.\n\nUser: Hello\n\nAssistant: Yes?\n\nUser: Bye\n\nAssistant:"
    )


def test_content_is_not_a_template() -> None:
    messages = (said("user", "{{ 7 * 7 }}{% raw %}"),)
    assert "{{ 7 * 7 }}{% raw %}" in ChatTemplate(None).render(messages)


def test_tojson_writes_for_models_not_for_html() -> None:
    template = ChatTemplate("{{ messages[0].content | tojson }}")
    assert template.render((said("user", "<é> & 'x'"),)) == "\"<é> & 'x'\""


def test_the_template_may_refuse_the_messages() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InvalidRequest, match="roles must alternate") as raised:
        template.render(USER)
    assert raised.value.param == "messages"


def test_a_template_that_goes_through_the_tools_unasked_does_without() -> None:
    template = ChatTemplate("{% for t in tools %}{{ t.name }}{% endfor %}{{ tools is none }}")
    assert template.render(USER) == "False"
    assert template.render(USER, [{"name": "f"}]) == "fFalse"
    assert ChatTemplate("{{ tools is none }}").render(USER) == "True"


def test_strftime_now_is_there() -> None:
    year = ChatTemplate("{{ strftime_now('%Y') }}").render(USER)
    assert year.isdigit()


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ joiner.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__['datetime'] }}",
        "{{ self._TemplateReference__context }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ messages.clear() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
    ],
)
def test_a_hostile_template_reaches_nothing(source: str) -> None:
    # An attribute that is not there renders as nothing; everything else is refused.
    try:
        text = ChatTemplate(source).render(USER)
    except ModelError:
        return
    assert text.strip() == ""


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ messages[7].content }}",
        "{{ [][3].x }}",
        "{{ messages[0].content.nothing.more }}",
        "{{ 'a' + 1 }}",
        "{{ 2.0 ** 5000 }}",
        "{{ range(10 ** 9) }}",
        "{{ 'x'.encode('nonsense') }}",
        "{{ messages | sum }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ strftime_now(3) }}",
        "{{ messages[0].content | nosuchtest }}",
    ],
)
def test_a_template_that_fails_is_a_clean_error(source: str) -> None:
    with pytest.raises(ModelError):
        ChatTemplate(source).render(USER)


LONG = "{% for a in range(9999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        LONG,
        "{% set n = namespace(s='x') %}"
        "{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{{ messages[0].content.center(10 ** 11) }}",
        "{{ '%99999999999d' | format(messages | length) }}",
        "{{ 3 ** (10 ** (8 + messages | length)) }}",
        "{{ ((messages | length) * [1]) * 10 ** 10 }}",
    ],
)
def test_a_template_without_end_or_measure_is_a_clean_error(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.chat_template.MOST_SECONDS", 0.5)
    with pytest.raises(ModelError, match=r"longer than 0\.5 s|MemoryError|too (large|big|many)"):
        ChatTemplate(source).render(USER)
    assert ChatTemplate("{{ messages[0].content * 2 }}").render(USER) == "HelloHello"


@pytest.mark.parametrize("source", ["{{ 'x' * 10 ** 11 }}", "{{ 3 ** (10 ** 9) }}"])
def test_what_is_constant_in_a_template_is_computed_within_bounds(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.chat_template.MOST_SECONDS", 0.5)
    with pytest.raises(ModelError):
        ChatTemplate(source).render(USER)


@pytest.mark.parametrize(
    "source",
    ["{% if %}", "{{ unclosed", "{% for m in messages %}", "{% nosuchtag %}", "{{ x | nosuch }}"],
)
def test_a_template_that_cannot_be_parsed_says_so_when_loaded(source: str) -> None:
    with pytest.raises(ModelError, match=r"chat template.*line 1"):
        ChatTemplate(source)


def test_smollm2s_template_is_what_the_file_holds() -> None:
    with smollm2_path().open("rb") as file:
        assert SMOLLM2.encode() in file.read(1 << 23)
